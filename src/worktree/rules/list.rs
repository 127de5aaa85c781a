//! The patterns of one ignore file.

use std::sync::Arc;

use super::{Verdict, pattern::Pattern};

/// So many defects of one file are said: by then it is clear.
const COMPLAINTS: usize = 10;

/// The patterns of one ignore file, in its order.
#[derive(Debug)]
pub(in crate::worktree) struct PatternList {
    /// The file's path, or `built-in`, or the name of a variable.
    pub(super) source: Box<str>,
    /// Bytes of its directory's path with the closing slash: what a path loses before it is compared.
    base: usize,
    pub(super) patterns: Vec<Pattern>,
}

/// A pattern that matched.
#[derive(Debug, Clone)]
pub(in crate::worktree) struct Hit {
    list: Arc<PatternList>,
    at: usize,
}

impl PatternList {
    /// Reads the file's bytes, whatever they are.
    pub(super) fn parse(source: &str, base: usize, bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
        let patterns = lines.filter_map(|(line, number)| Pattern::parse(line, number)).collect();
        Self { source: source.into(), base, patterns }
    }

    /// What is wrong with it, for a log.
    pub(super) fn complaints(&self, bytes: &[u8]) -> Vec<String> {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return vec![format!("{} is UTF-16: its patterns match nothing; save it as UTF-8", self.source)];
        }
        if bytes.contains(&0) {
            return vec![format!("{} is binary: hardly any of its patterns match anything", self.source)];
        }
        let defects = self.patterns.iter().filter_map(|pattern| Some((pattern, pattern.defect()?)));
        defects
            .take(COMPLAINTS)
            .map(|(pattern, defect)| {
                format!("{}:{}: \"{}\" matches nothing: {defect}", self.source, pattern.line, pattern.text)
            })
            .collect()
    }

    /// The last pattern that matches and that `counts`.
    pub(super) fn last_match(
        self: &Arc<Self>,
        path: &[u8],
        name: &[u8],
        is_dir: bool,
        counts: impl Fn(&Self, &Pattern) -> bool,
    ) -> Option<Hit> {
        let below = self.below(path)?;
        let at =
            self.patterns.iter().rposition(|pattern| pattern.matches(below, name, is_dir) && counts(self, pattern))?;
        Some(Hit { list: Arc::clone(self), at })
    }

    /// `path` as seen from the file's directory.
    pub(super) fn below<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        path.get(self.base..)
    }
}

impl Hit {
    pub(super) fn pattern(&self) -> &Pattern {
        &self.list.patterns[self.at]
    }

    pub(in crate::worktree) fn brings_back(&self) -> bool {
        self.pattern().negated
    }

    pub(in crate::worktree) fn rule(&self) -> &str {
        &self.pattern().text
    }

    pub(in crate::worktree) fn source(&self) -> &str {
        &self.list.source
    }

    /// The only pattern of a list that stands for a switch.
    pub(super) fn first(list: &Arc<PatternList>) -> Self {
        Self { list: Arc::clone(list), at: 0 }
    }

    /// Where two hits are of one rule, they have one key.
    pub(in crate::worktree) fn key(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.list) as usize, self.at)
    }

    pub(in crate::worktree) fn verdict(&self) -> Verdict {
        Verdict {
            stored: self.brings_back(),
            rule: Some(self.rule().to_owned()),
            source: Some(self.source().to_owned()),
            line: Some(self.pattern().line),
        }
    }
}
