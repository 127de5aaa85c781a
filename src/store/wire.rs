//! What passes over the wire: counts every attempt, reads the server's clock, and sees to it that nobody compresses.
//!
//! It sits in the SDK as an interceptor, so that nothing can be sent past it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant, SystemTime},
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut},
        },
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, body::SdkBody, config_bag::ConfigBag, date_time::Format};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Counters, trouble::one_line};

/// What is seen of the wire, shared by all clients of a store.
#[derive(Debug, Default)]
pub(super) struct Wire {
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    answered: AtomicBool,
    began: OnceLock<Instant>,
    clock: Mutex<Option<Clock>>,
    expiration: OnceLock<String>,
    encryption: OnceLock<String>,
    object_lock: OnceLock<String>,
}

/// The server's clock and ours, at one moment.
#[derive(Clone, Copy, Debug)]
struct Clock {
    server: SystemTime,
    ours: SystemTime,
    at: Instant,
}

impl Wire {
    pub(super) fn counters(&self) -> Counters {
        Counters {
            requests: self.requests.load(Relaxed),
            bytes_sent: self.sent.load(Relaxed),
            bytes_received: self.received.load(Relaxed),
        }
    }

    /// The server's clock now; `None` before the first answer.
    pub(super) fn server_now(&self) -> Option<SystemTime> {
        let clock = (*self.clock.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(clock.server + clock.at.elapsed())
    }

    /// Seconds that our clock is ahead of the server's, whose `Date` knows whole seconds only.
    pub(super) fn skew(&self) -> Option<i64> {
        let clock = (*self.clock.lock().unwrap_or_else(PoisonError::into_inner))?;
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Some(match clock.ours.duration_since(clock.server) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        })
    }

    pub(super) fn expiration(&self) -> Option<String> {
        self.expiration.get().cloned()
    }

    /// From now on it is known, and not said.
    pub(super) fn has_said_expiration(&self, rule: String) {
        let _ = self.expiration.set(rule);
    }

    pub(super) fn encryption(&self) -> Option<String> {
        self.encryption.get().cloned()
    }

    pub(super) fn object_lock(&self) -> Option<String> {
        self.object_lock.get().cloned()
    }

    /// Whether the server has answered at all.
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Relaxed)
    }

    /// How long ago the first request was tried.
    pub(super) fn since_first_try(&self) -> Duration {
        self.began.get_or_init(Instant::now).elapsed()
    }

    fn read_headers<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) {
        self.answered.store(true, Relaxed);
        if let Some(server) = header("date")
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            .and_then(|date| SystemTime::try_from(date).ok())
        {
            let clock = Clock { server, ours: SystemTime::now(), at: Instant::now() };
            *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        }
        if let Some(rule) = header("x-amz-expiration").map(one_line)
            && self.expiration.set(rule.clone()).is_ok()
        {
            tracing::warn!(
                "a lifecycle rule of the bucket will delete objects of this workspace ({rule}): exclude the workspace's \
                 prefix from that rule, or what was stored is lost"
            );
        }
        if let Some(with) = header("x-amz-server-side-encryption") {
            self.encryption.get_or_init(|| one_line(with));
        }
        if let Some(mode) = header("x-amz-object-lock-mode") {
            let until = header("x-amz-object-lock-retain-until-date").map(|date| format!(" until {date}"));
            self.object_lock.get_or_init(|| one_line(&format!("{mode}{}", until.unwrap_or_default())));
        }
    }
}

/// The interceptor's handle on the wire.
#[derive(Clone, Debug)]
pub(super) struct Tap(pub(super) Arc<Wire>);

impl Intercept for Tap {
    fn name(&self) -> &'static str {
        "stopover's tap"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        // After signing: a proxy that rewrites this header must not break the signature. A proxy that compresses
        // would weaken the ETag.
        request.headers_mut().insert("accept-encoding", "identity");
        self.0.requests.fetch_add(1, Relaxed);
        self.0.sent.fetch_add(request.body().content_length().unwrap_or(0), Relaxed);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        self.0.read_headers(|name| response.headers().get(name));
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() = SdkBody::from_body_1_x(Counted { body, wire: Arc::clone(&self.0) });
        Ok(())
    }
}

/// A body whose bytes are counted as they come.
struct Counted {
    body: SdkBody,
    wire: Arc<Wire>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let counted = self.get_mut();
        let frame = ready!(Pin::new(&mut counted.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            counted.wire.received.fetch_add(data.len() as u64, Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_goes_on_from_its_last_date() {
        let wire = Wire::default();
        assert_eq!(wire.server_now(), None);
        wire.read_headers(|name| (name == "date").then_some("Sun, 06 Nov 1994 08:49:37 GMT"));
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert!(wire.server_now().unwrap() >= date);
        assert!(wire.skew().unwrap() > 900_000_000, "we are decades ahead");
        assert!(wire.answered());
    }

    #[test]
    fn a_date_that_is_none_leaves_the_clock_alone() {
        let wire = Wire::default();
        wire.read_headers(|name| match name {
            "date" => Some("yesterday"),
            "x-amz-expiration" => Some("expiry-date=\"x\", rule-id=\"r\""),
            "x-amz-object-lock-mode" => Some("COMPLIANCE"),
            _ => None,
        });
        assert_eq!(wire.skew(), None);
        assert_eq!(wire.expiration().as_deref(), Some("expiry-date=\"x\", rule-id=\"r\""));
        assert_eq!((wire.object_lock().as_deref(), wire.encryption()), (Some("COMPLIANCE"), None));
    }
}
