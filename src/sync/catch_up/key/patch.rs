//! Large files over the version of the object that the mirror or a snapshot knows the pieces of: what has not changed
//! stays on the server.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::{Key, Origin, Ready};
use crate::{
    plan::unchanged,
    rows::{ETag, RelPath, Row, piece_bytes},
    store::{Put, PutIf, Span, StoreError},
    sync::{
        contents::PackSource,
        outgoing::{Body, WHOLE},
        watch::Watched,
    },
};

impl Key<'_> {
    /// Puts what has changed; none where that is not known, not worth it, or not done by this server: then all of it
    /// has to go.
    pub(super) async fn patch(
        &self,
        path: &RelPath,
        ready: &Ready<'_>,
        row: &Row,
        condition: PutIf<'_>,
    ) -> Result<Option<Put>, StoreError> {
        let PutIf::Match(old) = condition else { return Ok(None) };
        let same = if row.size > WHOLE { self.unchanged(path, old, row) } else { Vec::new() };
        if same.is_empty() {
            return Ok(None);
        }
        let (key, lengths, same) = (path.to_text(), (row.size, piece_bytes(row.size)), (old, &same[..]));
        let (runtime, watch) = (Handle::current(), Arc::clone(&self.watch));
        match &ready.from {
            Origin::Here(outgoing) => {
                let Body::File(file, _) = &outgoing.body else { return Ok(None) };
                let Some(source) = outgoing.pieces(file) else { return Ok(None) };
                let source = Watched { source, watch, runtime };
                self.store.patch_file(&key, source, lengths, same, Some(&outgoing.kind)).await
            }
            Origin::Packs(kind) => {
                let source = Watched { source: PackSource::new(self.store, row, Arc::default()), watch, runtime };
                self.store.patch_file(&key, source, lengths, same, Some(kind)).await
            }
        }
    }

    /// Which bytes of `row` version `old` of the object has: what that held is known, and a snapshot has its pieces.
    fn unchanged(&self, path: &RelPath, old: &ETag, row: &Row) -> Vec<Span> {
        let mirrored = self.known.mirrored(path).filter(|held| held.etag == *old).map(|held| held.content.hash);
        let held = mirrored.or_else(|| self.sent.held(path, old));
        self.known.row_of(path, old, held).map(|before| unchanged(before, row)).unwrap_or_default()
    }
}
