//! A failed request in a user's words: what happened, to what, what to do.

use super::{
    Store, StoreError, StoreErrorKind as Kind,
    send::Ask,
    trouble::{Answer, Cause, NoConnection, Trouble, one_line},
};

/// Codes that mean: the key pair is wrong, with what to look at.
const BAD_KEYS: [(&str, &str); 9] = [
    ("InvalidAccessKeyId", "it does not know the access key"),
    ("XAdminUserNotFound", "it does not know the access key"),
    ("NotSignedUp", "it does not know the access key"),
    ("SignatureDoesNotMatch", "the secret key does not fit the access key, or a proxy changes requests"),
    ("InvalidToken", "the session token does not belong to the keys"),
    ("InvalidClientTokenId", "the session token does not belong to the keys"),
    ("ExpiredToken", "the credentials have expired, and the new ones too"),
    ("ExpiredTokenException", "the credentials have expired, and the new ones too"),
    ("TokenRefreshRequired", "the credentials have expired, and the new ones too"),
];

/// Codes that mean: such a key cannot be.
const BAD_NAMES: [&str; 9] = [
    "KeyTooLongError",
    "KeyTooLong",
    "XMinioInvalidObjectName",
    "InvalidObjectName",
    "InvalidURI",
    "ObjectParentIsFile",
    "ExistingObjectIsDirectory",
    "XMinioObjectExistsAsDirectory",
    "XMinioParentIsObject",
];

/// Codes that mean: no room left.
const FULL: [&str; 3] = ["XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded"];

impl Store {
    /// The error for `ask` that ended in `trouble`.
    pub(super) fn error(&self, ask: Ask<'_>, trouble: &Trouble) -> StoreError {
        let (kind, text) = match &trouble.cause {
            Cause::Answer(answer) => self.answered(ask, answer),
            Cause::NoConnection(why) => (Kind::Unreachable, self.not_connected(why)),
            Cause::Lost(why) if why.is_empty() => (Kind::Unreachable, self.lost(ask, "the connection broke")),
            Cause::Lost(why) => (Kind::Unreachable, self.lost(ask, why)),
            Cause::TimedOut if !self.line.wire.answered() => {
                (Kind::Unreachable, self.not_connected(&NoConnection::TimedOut))
            }
            Cause::TimedOut => (Kind::TimedOut, self.lost(ask, "no answer in time")),
            Cause::Broken(why) | Cause::Wrong(why) => {
                (Kind::BrokenAnswer, format!("the answer to {} is broken: {}", self.what(ask), one_line(why)))
            }
            Cause::NoCredentials(tried) => (Kind::Credentials, format!("no AWS credentials: {tried}")),
            Cause::NoRequest(why) => {
                (Kind::BadRequest, format!("{} cannot be sent: {}", self.what(ask), one_line(why)))
            }
            Cause::Local(why) => (Kind::Source, format!("{}: {}", self.what(ask), one_line(why))),
        };
        let mut error = StoreError::new(kind, ask.op, text);
        error.key = ask.key.map(|key| self.full(key));
        error.code = match &trouble.cause {
            Cause::Answer(answer) => Some(code_or_status(answer)),
            _ => None,
        };
        error
    }

    fn answered(&self, ask: Ask<'_>, answer: &Answer) -> (Kind, String) {
        let bucket = &self.line.bucket;
        let code = code_or_status(answer);
        let has = |codes: &[&str]| answer.code.as_deref().is_some_and(|code| codes.contains(&code));
        if let Some((_, why)) = BAD_KEYS.iter().find(|(known, _)| Some(*known) == answer.code.as_deref()) {
            let look = "check S3_ACCESS_KEY and S3_SECRET_KEY, or the AWS credentials";
            return (Kind::Credentials, format!("{} refused the credentials ({code}): {why}; {look}", self.place()));
        }
        if ask.op == "DeleteObject" && answer.is_retention() {
            let why = "a retention rule (object lock) keeps it for now; it can be deleted when the rule has run out";
            return (Kind::Denied, format!("{} was refused ({code}): {why}", self.what(ask)));
        }
        if let Some(right) = answer.missing_key_right(ask.op) {
            let why = "it is encrypted with a KMS key that these credentials cannot use";
            let text = format!(
                "bucket \"{bucket}\" refused {} ({code}): {why}: the role needs {right} on that key, and the key must \
                 be enabled",
                self.what(ask)
            );
            return (Kind::Denied, text);
        }
        if has(&["RequestTimeTooSkewed"]) {
            let apart = self.line.wire.skew().map_or_else(String::new, |skew| format!(" by {} s", skew.abs()));
            let text = format!("this clock and that of {} differ{apart} ({code}): set the clock", self.place());
            return (Kind::ClockSkew, text);
        }
        if has(&["NoSuchBucket"]) {
            let text =
                format!("bucket \"{bucket}\" does not exist at {}: create it, or correct its name", self.place());
            return (Kind::NoBucket, text);
        }
        if has(&["InvalidBucketName"]) {
            return (
                Kind::NoBucket,
                format!("{} takes no bucket \"{bucket}\" ({code}): correct its name", self.place()),
            );
        }
        if matches!(answer.status, 301 | 307) || has(&["AuthorizationHeaderMalformed", "PermanentRedirect"]) {
            let (region, here) = (answer.region.as_deref().unwrap_or("another region"), self.line.region());
            let text = format!("bucket \"{bucket}\" is in {region}, not in {here} ({code}): set AWS_REGION");
            return (Kind::WrongRegion, text);
        }
        if has(&FULL) || answer.status == 507 {
            return (Kind::Full, format!("{} has no room for {} ({code})", self.place(), self.what(ask)));
        }
        if has(&["EntityTooLarge"]) || answer.status == 413 {
            return (Kind::TooLarge, format!("{} is larger than {} takes ({code})", self.what(ask), self.place()));
        }
        if has(&BAD_NAMES) || answer.status == 414 || (answer.status == 409 && is_write(ask.op)) {
            let why = "the key is too long, or a name that this server cannot hold";
            return (Kind::NameRefused, format!("{} was refused ({code}): {why}", self.what(ask)));
        }
        match answer.status {
            401 | 403 => (Kind::Denied, self.denied(ask, &code)),
            404 if is_write(ask.op) => {
                (Kind::NoBucket, format!("{} failed ({code}): is there a bucket \"{bucket}\"?", self.what(ask)))
            }
            429 | 503 => (
                Kind::Throttled,
                format!("{} asks for fewer requests ({code}): gave up on {}", self.place(), self.what(ask)),
            ),
            501 => (Kind::Unsupported, format!("{} does not know {} ({code})", self.place(), self.what(ask))),
            500..=599 => (Kind::Server, format!("{} failed at {} ({code})", self.place(), self.what(ask))),
            _ => {
                let message =
                    answer.message.as_deref().map_or_else(String::new, |text| format!(": {}", one_line(text)));
                (Kind::BadRequest, format!("bucket \"{bucket}\" refused {} ({code}){message}", self.what(ask)))
            }
        }
    }

    /// `bucket "x" refused ListObjectsV2 (AccessDenied): the role needs s3:ListBucket on prefix "p/"`.
    fn denied(&self, ask: Ask<'_>, code: &str) -> String {
        let (bucket, prefix) = (&self.line.bucket, &self.prefix);
        let right = match ask.op {
            "ListObjectsV2" => {
                return format!(
                    "bucket \"{bucket}\" refused ListObjectsV2 ({code}): the role needs s3:ListBucket on prefix \"{prefix}\""
                );
            }
            "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
            "GetObject" | "HeadObject" => "s3:GetObject",
            "DeleteObject" => "s3:DeleteObject",
            "AbortMultipartUpload" => "s3:AbortMultipartUpload",
            _ => "s3:PutObject",
        };
        // Without the right to list, S3 answers 403 where there is no object.
        let list =
            if right == "s3:GetObject" { format!(", and s3:ListBucket on prefix \"{prefix}\"") } else { String::new() };
        format!(
            "bucket \"{bucket}\" refused {} ({code}): the role needs {right} on \"{prefix}*\"{list}",
            self.what(ask)
        )
    }

    fn not_connected(&self, why: &NoConnection) -> String {
        let place = self.place();
        match why {
            NoConnection::Refused => {
                format!("cannot reach {place} (connection refused): check S3_ENDPOINT, and that the server runs")
            }
            NoConnection::NoSuchName => {
                format!("cannot reach {place} (its name does not resolve): check S3_ENDPOINT, and the network's DNS")
            }
            NoConnection::TimedOut => {
                format!("cannot reach {place} (no answer): check S3_ENDPOINT, and the way through network and firewall")
            }
            NoConnection::Tls(why) => format!(
                "cannot reach {place} (TLS: {}): name the server's authority in SSL_CERT_FILE, or check the scheme of S3_ENDPOINT",
                one_line(why)
            ),
            NoConnection::Other(why) => format!("cannot reach {place} ({}): check S3_ENDPOINT", one_line(why)),
        }
    }

    fn lost(&self, ask: Ask<'_>, why: &str) -> String {
        format!("{} did not answer {} ({}): check the network", self.place(), self.what(ask), one_line(why))
    }

    fn place(&self) -> String {
        self.line.recipe.place(&self.line.region())
    }

    /// `PutObject of "p/key"`.
    fn what(&self, ask: Ask<'_>) -> String {
        ask.key.map_or_else(|| ask.op.to_owned(), |key| format!("{} of {:?}", ask.op, self.full(key)))
    }
}

fn is_write(op: &str) -> bool {
    !matches!(op, "GetObject" | "HeadObject" | "ListObjectsV2" | "ListMultipartUploads")
}

fn code_or_status(answer: &Answer) -> String {
    answer.code.as_deref().map_or_else(|| answer.status.to_string(), one_line)
}
