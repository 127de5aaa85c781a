//! One attempt that failed: what is known of it, and whether the request may have been carried out.

use std::{error::Error, io};

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::result::ConnectorError;

/// An attempt that failed.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) cause: Cause,
    /// A write may have been carried out all the same (in this attempt or an earlier one).
    pub(super) maybe_done: bool,
}

/// How it failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    /// The server answered so.
    Answer(Answer),
    /// No connection came about.
    NoConnection(NoConnection),
    /// The connection broke, or closed, before the answer was there.
    Lost(String),
    /// No answer in time.
    TimedOut,
    /// An answer that cannot be read, breaks off, or fails its checksum.
    Broken(String),
    /// An answer that contradicts an earlier one; asking again would not help.
    Wrong(String),
    /// No credentials, each place with its reason.
    NoCredentials(String),
    /// The request cannot even be made.
    NoRequest(String),
    /// Reading or writing on our side failed.
    Local(String),
}

/// An answer that says no.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    /// The region that the answer names.
    pub(super) region: Option<String>,
    /// Seconds to wait, where the answer asks for it.
    pub(super) retry_after: Option<u64>,
}

/// Why no connection came about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoConnection {
    /// Nobody listens there.
    Refused,
    /// The name does not resolve.
    NoSuchName,
    /// The other side is not trusted, or speaks no TLS.
    Tls(String),
    /// It did not come about in time.
    TimedOut,
    /// Else.
    Other(String),
}

impl Trouble {
    pub(super) fn new(cause: Cause) -> Self {
        Self { cause, maybe_done: false }
    }

    pub(super) fn broken(why: impl Into<String>) -> Self {
        Self::new(Cause::Broken(why.into()))
    }

    pub(super) fn status(&self) -> Option<u16> {
        match &self.cause {
            Cause::Answer(answer) => Some(answer.status),
            _ => None,
        }
    }

    pub(super) fn code(&self) -> Option<&str> {
        match &self.cause {
            Cause::Answer(answer) => answer.code.as_deref(),
            _ => None,
        }
    }

    /// Another attempt may go better.
    pub(super) fn is_passing(&self) -> bool {
        match &self.cause {
            Cause::Answer(answer) => {
                let code = answer.code.as_deref();
                matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504)
                    || code.is_some_and(|code| BUSY.contains(&code) || BROKEN_UPLOAD.contains(&code))
            }
            // Who is not trusted now will not be in a second.
            Cause::NoConnection(why) => !matches!(why, NoConnection::Tls(_)),
            Cause::Lost(_) | Cause::TimedOut | Cause::Broken(_) => true,
            Cause::Wrong(_) | Cause::NoCredentials(_) | Cause::NoRequest(_) | Cause::Local(_) => false,
        }
    }

    /// Something else is under way at this key. To a request with a condition that is an answer; one without may be
    /// repeated.
    pub(super) fn is_conflict(&self) -> bool {
        self.status() == Some(409) && self.code().is_some_and(|code| CONFLICT.contains(&code))
    }

    /// The server wants less.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.status(), Some(429 | 503)) || self.code().is_some_and(|code| BUSY.contains(&code))
    }

    /// A failed write that certainly left nothing behind: nothing was sent, or the answer says so by its code.
    pub(super) fn is_surely_not_done(&self) -> bool {
        match &self.cause {
            Cause::NoConnection(_) | Cause::NoCredentials(_) | Cause::NoRequest(_) => true,
            // A 503 without a code comes from something between us and the server. A 501 refuses what was asked for.
            Cause::Answer(answer) => {
                matches!(answer.status, 400..=499 | 501)
                    || answer.code.as_deref().is_some_and(|code| BUSY.contains(&code))
            }
            _ => false,
        }
    }

    /// The credentials were good once.
    pub(super) fn is_expired(&self) -> bool {
        matches!(
            self.code(),
            Some("ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired")
        )
    }

    /// The clocks are apart; the SDK has noted by how much.
    pub(super) fn is_skewed(&self) -> bool {
        matches!(self.code(), Some("RequestTimeTooSkewed"))
    }

    /// The region the bucket is in, when that is why the server refused.
    pub(super) fn right_region(&self) -> Option<&str> {
        match &self.cause {
            Cause::Answer(answer) if matches!(answer.status, 301 | 307 | 400 | 403) => answer.region.as_deref(),
            _ => None,
        }
    }
}

/// The server is there and wants less, or wants it later. Nothing was carried out.
const BUSY: [&str; 6] =
    ["SlowDown", "SlowDownRead", "SlowDownWrite", "ServiceUnavailable", "RequestLimitExceeded", "ThrottlingException"];

/// Another request to the same object is being carried out.
const CONFLICT: [&str; 2] = ["ConditionalRequestConflict", "OperationAborted"];

/// The server did not get the body as it was sent.
const BROKEN_UPLOAD: [&str; 4] = ["RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"];

impl<E> From<SdkError<E, HttpResponse>> for Trouble
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let cause = match &error {
            SdkError::ServiceError(service) => {
                let (code, message) = (service.err().code(), service.err().message());
                Cause::Answer(Answer::read(service.raw(), code, message))
            }
            SdkError::ResponseError(response) => {
                let status = response.raw().status().as_u16();
                // A 2xx that cannot be read is a broken answer; anything else says what it is by its status.
                if (200..300).contains(&status) {
                    Cause::Broken("it cannot be read".to_owned())
                } else {
                    Cause::Answer(Answer::read(response.raw(), None, None))
                }
            }
            SdkError::TimeoutError(_) => Cause::TimedOut,
            SdkError::DispatchFailure(failure) => {
                failure.as_connector_error().map_or_else(|| Cause::Lost(String::new()), dispatch)
            }
            other => no_credentials(other).unwrap_or_else(|| Cause::NoRequest(last_words(other))),
        };
        Self::new(cause)
    }
}

impl Answer {
    fn read(raw: &HttpResponse, code: Option<&str>, message: Option<&str>) -> Self {
        let body = raw.body().bytes().unwrap_or_default();
        let region = raw.headers().get("x-amz-bucket-region").map(str::to_owned).or_else(|| region_in(body));
        Self {
            status: raw.status().as_u16(),
            code: code.map(str::to_owned),
            message: message.map(str::to_owned),
            region,
            retry_after: raw.headers().get("retry-after").and_then(|seconds| seconds.trim().parse().ok()),
        }
    }
}

/// `<Region>eu-west-1</Region>` of an error's body.
fn region_in(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let region = text.split_once("<Region>")?.1.split_once("</Region>")?.0.trim();
    let plain = !region.is_empty()
        && region.len() <= 64
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| region.to_owned())
}

fn dispatch(failure: &ConnectorError) -> Cause {
    if let Some(cause) = no_credentials(failure) {
        return cause;
    }
    let connecting = chain(failure)
        .find_map(|error| error.downcast_ref::<hyper_util::client::legacy::Error>())
        .is_some_and(hyper_util::client::legacy::Error::is_connect);
    if !connecting {
        return if failure.is_timeout() { Cause::TimedOut } else { Cause::Lost(last_words(failure)) };
    }
    let text = chain(failure).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let refused = chain(failure)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    Cause::NoConnection(if failure.is_timeout() {
        NoConnection::TimedOut
    } else if refused {
        NoConnection::Refused
    } else if text.contains("dns error") || text.contains("failed to lookup address") {
        NoConnection::NoSuchName
    } else if text.contains("TLS") || text.contains("certificate") || text.contains("InvalidMessage") {
        NoConnection::Tls(last_words(failure))
    } else {
        NoConnection::Other(last_words(failure))
    })
}

/// The reasons why no credentials were found, one line, if that is what happened.
fn no_credentials(error: &(dyn Error + 'static)) -> Option<Cause> {
    use aws_config::meta::ProviderChainError;
    use aws_credential_types::provider::error::CredentialsError;

    let found = chain(error).find_map(|error| error.downcast_ref::<CredentialsError>())?;
    let tried = chain(found).find_map(|error| error.downcast_ref::<ProviderChainError<CredentialsError>>());
    Some(Cause::NoCredentials(match tried {
        Some(tried) => {
            let each = tried
                .attempts()
                .iter()
                .map(|attempt| format!("{} ({})", attempt.name(), one_line(&last_words(attempt.error()))));
            format!("tried {}", each.collect::<Vec<_>>().join(", "))
        }
        None => one_line(&last_words(found)),
    }))
}

/// An error, then each error after it; the payload of an I/O error counts.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    })
}

/// What the innermost error says: the outer ones only say that something failed.
fn last_words(error: &(dyn Error + 'static)) -> String {
    one_line(&chain(error).last().map(ToString::to_string).unwrap_or_default())
}

/// One line of at most 200 characters, URLs without their query.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().map(|word| match word.split_once('?') {
        Some((url, _)) if url.contains("://") => url,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Trouble {
        let code = (!code.is_empty()).then(|| code.to_owned());
        Trouble::new(Cause::Answer(Answer { status, code, ..Answer::default() }))
    }

    #[test]
    fn a_refusal_is_final_and_a_slow_down_is_not() {
        assert!(!answer(403, "AccessDenied").is_passing());
        assert!(!answer(412, "PreconditionFailed").is_passing());
        assert!(answer(503, "SlowDown").is_passing());
        assert!(answer(400, "RequestTimeout").is_passing());
        assert!(answer(500, "").is_passing());
    }

    #[test]
    fn only_an_answer_that_says_so_means_that_nothing_was_written() {
        assert!(answer(503, "SlowDown").is_surely_not_done());
        assert!(!answer(503, "").is_surely_not_done(), "a balancer's own answer");
        assert!(!answer(500, "InternalError").is_surely_not_done());
        assert!(!Trouble::new(Cause::TimedOut).is_surely_not_done());
        assert!(!Trouble::new(Cause::Lost(String::new())).is_surely_not_done());
        assert!(Trouble::new(Cause::NoConnection(NoConnection::Refused)).is_surely_not_done());
    }

    #[test]
    fn a_conflict_is_told_from_a_name_that_cannot_be() {
        assert!(answer(409, "OperationAborted").is_conflict());
        assert!(answer(409, "ConditionalRequestConflict").is_conflict());
        assert!(!answer(409, "XMinioObjectExistsAsDirectory").is_conflict());
        assert!(!answer(409, "").is_conflict());
        assert!(!answer(412, "ConditionalRequestConflict").is_conflict());
    }

    #[test]
    fn a_region_is_read_from_the_body_and_nothing_else_is() {
        assert_eq!(region_in(b"<Error><Region>eu-west-1</Region></Error>").as_deref(), Some("eu-west-1"));
        assert_eq!(region_in(b"<Error><Region>evil.example/</Region></Error>"), None);
        assert_eq!(region_in(b"<Error/>"), None);
    }

    #[test]
    fn no_query_of_a_url_is_repeated() {
        assert_eq!(one_line("at\n https://h/k?X-Amz-Signature=abc failed"), "at https://h/k failed");
    }
}
