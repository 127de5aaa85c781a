//! Deleting: only the version that was meant, by condition where the server honours one, else by looking just before.

use std::time::Duration;

use super::{Deleted, Store, StoreError, StoreErrorKind, send::Ask};
use crate::rows::ETag;

/// How often one version is to be deleted that is still there.
const TRIES: u32 = 4;
/// The first pause between them; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

impl Store {
    /// Deletes an object; with a version only that one. Where the server has no condition on DELETE, its version is
    /// read and compared first, and the DELETE follows at once: an outside write in that instant can be lost.
    ///
    /// # Errors
    /// What is neither done, refused, absent nor denied.
    pub async fn delete(&self, key: &str, version: Option<&ETag>) -> Result<Deleted, StoreError> {
        if self.dry {
            return Ok(Deleted::Done);
        }
        let Some(version) = version else {
            return self.delete_once(key, None).await;
        };
        let mut is_honoured = self.abilities.is_some_and(|able| able.delete);
        // A server that is not known yet gets the condition too, if it takes one: it does no harm.
        let mut condition = Some(version).filter(|_| is_honoured || self.abilities.is_none());
        let (mut pause, mut was_absent) = (Duration::ZERO, false);
        for attempt in 0..=TRIES {
            tokio::time::sleep(pause).await;
            if !is_honoured || !pause.is_zero() {
                match self.head(key).await {
                    Ok(None) => return Ok(Deleted::Absent),
                    Ok(Some(meta)) if meta.etag != *version => return Ok(Deleted::Refused),
                    Ok(Some(_)) => {}
                    // Without the right to list, what is not there is denied: the answer to the DELETE stands.
                    Err(error) if error.kind == StoreErrorKind::Denied && was_absent => return Ok(Deleted::Absent),
                    Err(error) => return Err(error),
                }
            }
            if attempt == TRIES {
                break;
            }
            let deleted = self.delete_once(key, condition).await;
            was_absent = matches!(deleted, Ok(Deleted::Absent));
            match deleted {
                // A conflict is with any other request, and "there is none" may be said of an instant: look again. What
                // is still there would be taken for somebody's later on.
                Ok(Deleted::Refused | Deleted::Absent) => pause = (pause * 2).max(PAUSE),
                Err(error) if condition.is_some() && self.may_not_delete_on_condition(&error) => {
                    (is_honoured, condition) = (false, None);
                }
                deleted => return deleted,
            }
        }
        // Nobody has changed it: that it is still there says nothing of others.
        let key = self.full(key);
        let why = format!("{} does not delete {key:?}, though it is the version that was meant", self.endpoint());
        Ok(Deleted::Denied(StoreError::new(StoreErrorKind::Denied, "DeleteObject", why)))
    }

    /// Whether the server may not know conditions on DELETE.
    fn may_not_delete_on_condition(&self, error: &StoreError) -> bool {
        error.kind == StoreErrorKind::Unsupported || self.abilities.is_none() && error.is_of_what_was_asked()
    }

    pub(super) async fn delete_once(&self, key: &str, version: Option<&ETag>) -> Result<Deleted, StoreError> {
        let ask = Ask::new("DeleteObject", key).conditional(version.is_some());
        let result = self
            .send(ask, |client| async move {
                let request = client.delete_object().bucket(&self.line.bucket).key(self.full(key));
                let request = request.set_if_match(version.map(|version| version.as_str().to_owned()));
                Ok(request.send().await.map(drop)?)
            })
            .await;
        match result {
            Ok(()) => Ok(Deleted::Done),
            // No condition that others broke: nobody may delete it for now.
            Err(trouble) if trouble.is_retention() => Ok(Deleted::Denied(self.error(ask, &trouble))),
            Err(trouble) => match (trouble.status(), trouble.code()) {
                (Some(412), _) | (Some(409), None | Some("ConditionalRequestConflict" | "OperationAborted")) => {
                    Ok(Deleted::Refused)
                }
                (Some(404), None | Some("NoSuchKey" | "NotFound")) => Ok(Deleted::Absent),
                _ => match self.error(ask, &trouble) {
                    error if error.kind == StoreErrorKind::Denied => Ok(Deleted::Denied(error)),
                    error => Err(error),
                },
            },
        }
    }
}
