//! Deleting: only the version that was meant, by condition where the server honours one, else by looking just before.

use super::{Deleted, Store, StoreError, StoreErrorKind, send::Ask};
use crate::rows::ETag;

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
        if self.abilities.is_some_and(|able| able.delete) {
            let deleted = self.delete_once(key, Some(version)).await;
            // "There is none" may be said of an instant: what is still there would be taken for somebody's later on.
            if matches!(deleted, Ok(Deleted::Absent)) && self.head(key).await?.is_some() {
                return Ok(Deleted::Refused);
            }
            if !matches!(&deleted, Err(error) if error.kind == StoreErrorKind::Unsupported) {
                return deleted;
            }
        }
        match self.head(key).await? {
            None => Ok(Deleted::Absent),
            Some(meta) if meta.etag != *version => Ok(Deleted::Refused),
            // A server that is not known yet gets the condition too, if it takes one: it does no harm.
            Some(_) if self.abilities.is_none() => match self.delete_once(key, Some(version)).await {
                Err(error) if error.is_of_what_was_asked() => self.delete_once(key, None).await,
                deleted => deleted,
            },
            Some(_) => self.delete_once(key, None).await,
        }
    }

    pub(super) async fn delete_once(&self, key: &str, version: Option<&ETag>) -> Result<Deleted, StoreError> {
        let ask = Ask::new("DeleteObject", key);
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
