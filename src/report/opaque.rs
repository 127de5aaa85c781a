//! JSON that a child wrote and PID 1 copies without understanding it.
//!
//! Two things only are seen: whether the bytes are one whole object (a child that was killed while it wrote leaves
//! half of one, and half an object is none), and where the lists directly in it lie, so that they can be shortened.
//! One pass, no recursion, no value is ever built.

/// One whole JSON object, as text; where its lists are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    text: String,
    lists: Vec<List>,
    /// Where the number of `"omitted": N` lies, if it is there.
    omitted: Option<(usize, usize)>,
}

/// A list directly in the object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    /// Behind its `[`.
    start: usize,
    /// Where each element ends.
    ends: Vec<usize>,
}

/// What nesting is taken: receipts have four levels.
const DEEPEST: usize = 32;

impl Opaque {
    /// Takes `bytes` if they are one whole object, with white space around it at most.
    #[must_use]
    pub fn object(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_matches(WHITE);
        if !text.starts_with('{') {
            return None;
        }
        let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
        let (lists, omitted) = scan.value(true)?;
        (scan.at == text.len()).then(|| Self { text: text.to_owned(), lists, omitted })
    }

    /// Takes `bytes` if they are one whole list.
    #[must_use]
    pub fn list(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.trim_matches(WHITE);
        if !text.starts_with('[') {
            return None;
        }
        let mut scan = Scan { bytes: text.as_bytes(), at: 0 };
        let (lists, omitted) = scan.value(true)?;
        (scan.at == text.len()).then(|| Self { text: text.to_owned(), lists, omitted })
    }

    /// The text, unchanged.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many bytes the longest list could still give.
    pub(super) fn longest_list(&self) -> usize {
        self.lists.iter().filter_map(|list| Some(list.ends.last()? - list.start)).max().unwrap_or(0)
    }

    /// The same with half of the longest list left out, and counted in `omitted` if this is an object. Returns the
    /// number left out; 0 where there is nothing to leave out.
    pub(super) fn halve_longest(&mut self) -> u64 {
        let longest = self.lists.iter().max_by_key(|list| list.ends.last().map_or(0, |end| end - list.start));
        let Some(list) = longest.filter(|list| !list.ends.is_empty()) else { return 0 };
        let kept = list.ends.len() / 2;
        let left_out = (list.ends.len() - kept) as u64;
        let from = if kept == 0 { list.start } else { list.ends[kept - 1] };
        let to = list.ends.last().copied().unwrap_or(from);
        let mut text = self.text.clone();
        let number = self.omitted.map(|(start, end)| (start, end, self.text[start..end].parse::<u64>().unwrap_or(0)));
        // What lies further behind is changed first, so that places before it stay true.
        let cut = |text: &mut String| text.replace_range(from..to, "");
        match number {
            Some((start, end, before)) if start > from => {
                text.replace_range(start..end, &(before + left_out).to_string());
                cut(&mut text);
            }
            Some((start, end, before)) => {
                cut(&mut text);
                text.replace_range(start..end, &(before + left_out).to_string());
            }
            None => {
                if text.ends_with('}') {
                    text.pop();
                    text.push_str(&format!(",\"omitted\":{left_out}}}"));
                }
                cut(&mut text);
            }
        }
        let again = if text.starts_with('{') { Self::object(text.as_bytes()) } else { Self::list(text.as_bytes()) };
        match again {
            Some(shorter) => *self = shorter,
            // Cannot be: nothing but whole elements went. If it could, then better nothing than half an object.
            None => self.lists.clear(),
        }
        left_out
    }
}

const WHITE: [char; 4] = [' ', '\n', '\r', '\t'];

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// A value.
    Value,
    /// A value, or the end of an empty list.
    ValueOrEnd,
    /// A key, or the end of an empty object.
    KeyOrEnd,
    /// A key.
    Key,
    /// A comma, or the end.
    CommaOrEnd,
}

type Found = (Vec<List>, Option<(usize, usize)>);

impl Scan<'_> {
    /// Walks over one value; `None` where it is not whole. Notes the lists that are members of the outermost object,
    /// or the outermost list itself.
    fn value(&mut self, note: bool) -> Option<Found> {
        // One bit a level, the lowest the innermost: 1 for an object.
        let mut objects = 0_u64;
        let mut depth = 0_usize;
        let mut want = Want::Value;
        let mut lists = Vec::new();
        let mut omitted = None;
        let mut open: Option<List> = None;
        let mut key = (0, 0);
        loop {
            self.white();
            let in_object = objects & 1 == 1;
            let byte = *self.bytes.get(self.at)?;
            match (want, byte) {
                (Want::Value | Want::ValueOrEnd, b'{' | b'[') => {
                    if depth == DEEPEST {
                        return None;
                    }
                    let outermost_list = depth == 0 && byte == b'[';
                    let member_list = depth == 1 && byte == b'[' && in_object;
                    self.at += 1;
                    depth += 1;
                    objects = objects << 1 | u64::from(byte == b'{');
                    if note && (outermost_list || member_list) {
                        open = Some(List { start: self.at, ends: Vec::new() });
                    }
                    want = if byte == b'{' { Want::KeyOrEnd } else { Want::ValueOrEnd };
                    continue;
                }
                (Want::ValueOrEnd | Want::CommaOrEnd, b']') if !in_object && depth > 0 => {
                    self.close(&mut depth, &mut objects)
                }
                (Want::KeyOrEnd | Want::CommaOrEnd, b'}') if in_object => self.close(&mut depth, &mut objects),
                (Want::CommaOrEnd, b',') if depth > 0 => {
                    self.at += 1;
                    want = if in_object { Want::Key } else { Want::Value };
                    continue;
                }
                (Want::Key | Want::KeyOrEnd, b'"') => {
                    let start = self.at;
                    self.string()?;
                    key = (start, self.at);
                    self.white();
                    if self.bytes.get(self.at) != Some(&b':') {
                        return None;
                    }
                    self.at += 1;
                    want = Want::Value;
                    continue;
                }
                (Want::Value | Want::ValueOrEnd, b'"') => self.string()?,
                (Want::Value | Want::ValueOrEnd, _) => {
                    let start = self.at;
                    self.word()?;
                    if depth == 1 && in_object && &self.bytes[key.0..key.1] == b"\"omitted\"" {
                        omitted = Some((start, self.at));
                    }
                }
                _ => return None,
            }
            // A value has just ended, at this depth.
            want = Want::CommaOrEnd;
            let list_depth = if self.bytes.first() == Some(&b'[') { 1 } else { 2 };
            if depth == list_depth && objects & 1 == 0 {
                if let Some(list) = &mut open {
                    list.ends.push(self.at);
                }
            } else if depth < list_depth {
                lists.extend(open.take());
            }
            if depth == 0 {
                return Some((lists, omitted));
            }
        }
    }

    fn close(&mut self, depth: &mut usize, objects: &mut u64) {
        self.at += 1;
        *depth -= 1;
        *objects >>= 1;
    }

    fn white(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => {
                    let escaped = *self.bytes.get(self.at + 1)?;
                    self.at += 1;
                    match escaped {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' if self.bytes.get(self.at + 1..self.at + 5)?.iter().all(u8::is_ascii_hexdigit) => {
                            self.at += 4
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
            self.at += 1;
        }
        self.at += 1;
        Some(())
    }

    /// `true`, `false`, `null`, or a number.
    fn word(&mut self) -> Option<()> {
        let start = self.at;
        while self
            .bytes
            .get(self.at)
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        {
            self.at += 1;
        }
        match &self.bytes[start..self.at] {
            b"true" | b"false" | b"null" => Some(()),
            number => is_number(number).then_some(()),
        }
    }
}

/// `-0.5e+7` and all that.
fn is_number(mut text: &[u8]) -> bool {
    fn digits(text: &mut &[u8]) -> usize {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        *text = &text[count..];
        count
    }
    if let [b'-', rest @ ..] = text {
        text = rest;
    }
    let zero = text.first() == Some(&b'0');
    let whole = digits(&mut text);
    if whole == 0 || (zero && whole > 1) {
        return false;
    }
    if let [b'.', rest @ ..] = text {
        text = rest;
        if digits(&mut text) == 0 {
            return false;
        }
    }
    if let [b'e' | b'E', rest @ ..] = text {
        text = rest;
        if let [b'+' | b'-', rest @ ..] = text {
            text = rest;
        }
        if digits(&mut text) == 0 {
            return false;
        }
    }
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\\n{}\\[\\],:é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                proptest::collection::vec(("[a-z\"]{0,4}|omitted", inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        proptest::collection::vec(("[a-z]{1,4}", json()), 0..6)
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_object_is_taken_and_no_part_of_one(value in object(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert!(Opaque::object(text.as_bytes()).is_some(), "{}", text);
            for end in (0..text.len()).rev().take(300) {
                prop_assert!(Opaque::object(&text.as_bytes()[..end]).is_none(), "cut at {}", end);
            }
        }

        #[test]
        fn what_is_taken_is_json(text in "[{}\\[\\]\",:a0.1e\\-\\\\ntrue ]{0,12}") {
            let text = format!("{{{text}");
            if Opaque::object(text.as_bytes()).is_some() {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn shortening_leaves_whole_elements_and_counts_the_rest(value in object()) {
            let text = serde_json::to_string(&value).unwrap();
            let mut opaque = Opaque::object(text.as_bytes()).unwrap();
            let lists = |value: &Value| -> u64 {
                value.as_object().unwrap().values().filter_map(Value::as_array).map(|list| list.len() as u64).sum()
            };
            let before = lists(&value);
            let mut gone = 0;
            loop {
                let left_out = opaque.halve_longest();
                gone += left_out;
                let now: Value = serde_json::from_str(opaque.text()).unwrap();
                prop_assert_eq!(lists(&now) + gone, before);
                if left_out == 0 {
                    break;
                }
                prop_assert_eq!(now["omitted"].as_u64(), Some(gone));
            }
            prop_assert_eq!(gone, before);
        }
    }

    #[test]
    fn an_earlier_count_of_what_was_left_out_grows() {
        let mut opaque = Opaque::object(br#"{"omitted": 5, "a": [1, 2, 3], "b": {"c": [1]}}"#).unwrap();
        assert_eq!(opaque.halve_longest(), 2);
        assert_eq!(opaque.text(), r#"{"omitted": 7, "a": [1], "b": {"c": [1]}}"#);
        assert_eq!(opaque.halve_longest(), 1);
        assert_eq!(opaque.text(), r#"{"omitted": 8, "a": [], "b": {"c": [1]}}"#);
        assert_eq!(opaque.halve_longest(), 0);
    }

    #[test]
    fn a_list_is_taken_as_one() {
        let mut opaque = Opaque::list(br#"[{"tool": "npm"}, {"tool": "pip"}]"#).unwrap();
        assert_eq!(opaque.halve_longest(), 1);
        assert_eq!(opaque.text(), r#"[{"tool": "npm"}]"#);
        assert!(Opaque::list(b"{}").is_none());
        assert!(Opaque::object(b"[]").is_none());
    }

    #[test]
    fn a_bomb_of_brackets_is_no_receipt() {
        assert!(Opaque::object(format!("{{\"a\":{}", "[".repeat(1_000_000)).as_bytes()).is_none());
        assert!(Opaque::object(b"{\"a\":\"\xff\"}").is_none());
    }
}
