//! Refusals that are about more than a right on the bucket: the key an object is encrypted with, and rules that keep
//! objects from being deleted. Servers say it in the code or, AWS for one, in the message alone.

use super::trouble::{Answer, Cause, Trouble};

/// What such rules are called: object lock, retention of buckets, write once read many.
const RETAINED: [&str; 7] = ["retention", "retained", "object lock", "objectlock", "legal hold", "worm", "immutable"];

impl Answer {
    /// The right on a KMS key that is missing: the one that the answer names, else the one that `op` needs.
    pub(super) fn missing_key_right(&self, op: &str) -> Option<String> {
        let says = self.words().any(|text| text.contains("kms:") || text.starts_with("kms.") || text.contains(" kms "));
        if !says || !matches!(self.status, 400 | 403) {
            return None;
        }
        let named = self.message.as_deref().and_then(|message| message.split_once("kms:")).map(|(_, after)| {
            let right = after.chars().take_while(char::is_ascii_alphanumeric).take(40);
            right.collect::<String>()
        });
        // `arn:aws:kms:eu-west-1:…` is no right.
        let right = named.filter(|right| right.starts_with(|first: char| first.is_ascii_uppercase()));
        let needed = if matches!(op, "GetObject" | "HeadObject") { "Decrypt" } else { "GenerateDataKey" };
        Some(format!("kms:{}", right.as_deref().unwrap_or(needed)))
    }

    /// A rule keeps the object for now.
    pub(super) fn is_retention(&self) -> bool {
        matches!(self.status, 400 | 403 | 405 | 409 | 423)
            && self.words().any(|text| RETAINED.iter().any(|word| text.contains(word)))
    }

    fn words(&self) -> impl Iterator<Item = String> {
        [&self.code, &self.message].into_iter().flatten().map(|text| text.to_ascii_lowercase())
    }
}

impl Trouble {
    /// See [`Answer::is_retention`].
    pub(super) fn is_retention(&self) -> bool {
        matches!(&self.cause, Cause::Answer(answer) if answer.is_retention())
    }

    /// A bucket with object lock wants a checksum with every write, and this one had none.
    pub(super) fn wants_checksum(&self) -> bool {
        let Cause::Answer(answer) = &self.cause else { return false };
        answer.status == 400
            && answer.words().any(|text| text.contains("content-md5") || text.contains("missingcontentmd5"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        Answer { status, code: Some(code.into()), message: Some(message.into()), ..Answer::default() }
    }

    #[test]
    fn the_missing_right_on_a_key_is_the_one_that_is_named_or_needed() {
        let named = "User: arn:aws:iam::1:user/x is not authorized to perform: kms:Decrypt on resource: \
                     arn:aws:kms:eu-west-1:1:key/2 because no identity-based policy allows the kms:Decrypt action";
        assert_eq!(answer(403, "AccessDenied", named).missing_key_right("PutObject").as_deref(), Some("kms:Decrypt"));
        let arn = "The ciphertext refers to arn:aws:kms:eu-west-1:1:key/2, which may not be used";
        assert_eq!(answer(403, "AccessDenied", arn).missing_key_right("GetObject").as_deref(), Some("kms:Decrypt"));
        let off = answer(400, "KMS.DisabledException", "key/2 is disabled");
        assert_eq!(off.missing_key_right("PutObject").as_deref(), Some("kms:GenerateDataKey"));
        assert_eq!(answer(403, "AccessDenied", "Access Denied").missing_key_right("GetObject"), None);
    }

    #[test]
    fn what_is_retained_is_told_from_what_may_not_be_done() {
        for (status, code, message) in [
            (403, "AccessDenied", "Access Denied because object protected by object lock."),
            (400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"),
            (403, "RetentionPolicyNotMet", "Object 'b/k' is subject to bucket's retention policy"),
        ] {
            assert!(answer(status, code, message).is_retention(), "{code}");
        }
        assert!(!answer(403, "AccessDenied", "Access Denied").is_retention());
        assert!(!answer(503, "SlowDown", "retention is busy").is_retention());
    }

    #[test]
    fn a_write_that_lacks_a_checksum_is_told_by_code_or_message() {
        let wants = |code, message| Trouble::new(Cause::Answer(answer(400, code, message))).wants_checksum();
        assert!(wants("InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object"));
        assert!(wants("MissingContentMD5", "Missing required header for this request: Content-Md5."));
        assert!(!wants("InvalidRequest", "no"));
    }
}
