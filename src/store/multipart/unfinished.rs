//! Uploads in parts that somebody began and never ended: a process that was killed leaves its parts, which nobody sees
//! and everybody pays for.

use std::{collections::BTreeSet, time::SystemTime};

use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

use crate::store::{Store, StoreError, read::time, send::Ask};

/// An upload in parts that was begun, and neither completed nor aborted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfinished {
    /// Below the store's prefix.
    pub key: String,
    /// When it was begun, by the server's clock.
    pub begun: Option<SystemTime>,
    id: String,
}

impl Store {
    /// All of them below the prefix, as far as the server tells: MinIO shows none to who does not name the key (and ends
    /// them itself after a day).
    ///
    /// # Errors
    /// The listing failed, or this server or role has none.
    pub async fn unfinished_uploads(&self) -> Result<Vec<Unfinished>, StoreError> {
        let ask = Ask::of_all("ListMultipartUploads");
        let (mut found, mut next, mut seen) = (Vec::new(), None, BTreeSet::new());
        loop {
            let marker: &Option<(String, Option<String>)> = &next;
            let result = self
                .send(ask, |client| async move {
                    let request = client.list_multipart_uploads().bucket(&self.line.bucket).prefix(self.full(""));
                    let (key, id) = marker.clone().map_or((None, None), |(key, id)| (Some(key), id));
                    let request = request.set_key_marker(key).set_upload_id_marker(id);
                    Ok(request.encoding_type(EncodingType::Url).send().await?)
                })
                .await;
            let page = result.map_err(|trouble| self.error(ask, &trouble))?;
            let encoded = page.encoding_type == Some(EncodingType::Url);
            let decode = |key: &str| match encoded {
                true => percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned(),
                false => key.to_owned(),
            };
            for upload in page.uploads.unwrap_or_default() {
                let (Some(key), Some(id)) = (upload.key.as_deref().map(decode), upload.upload_id) else { continue };
                // Whatever the server makes of the prefix, others' are nobody's business here.
                if let Some(key) = key.strip_prefix(&*self.prefix) {
                    found.push(Unfinished { key: key.to_owned(), begun: upload.initiated.and_then(time), id });
                }
            }
            let marker = page.next_key_marker.map(|key| (decode(&key), page.next_upload_id_marker));
            match marker.filter(|marker| page.is_truncated == Some(true) && seen.insert(marker.clone())) {
                Some(marker) => next = Some(marker),
                None => return Ok(found),
            }
        }
    }

    /// Ends it, and with it what it has sent. Where that fails it is said.
    pub async fn give_up(&self, upload: &Unfinished) {
        if !self.dry {
            self.abort(&upload.key, &upload.id).await;
        }
    }
}
