//! Cutting a summary to a length, without understanding it.
//!
//! Kubernetes keeps 4,096 bytes of the termination log, and half a JSON object is none. The receipts in a summary come
//! from children and stay opaque to PID 1; so this only tells strings, brackets and commas apart, drops the last
//! elements of the longest lists until the text fits, and counts them as `omitted` in the object that has the list.

use std::{collections::BTreeMap, ops::Range};

/// Deeper than any receipt, and what a hostile one can cost.
const DEPTH: usize = 16;

/// A list that belongs to an object: `"name":[…]`.
struct List {
    /// Where each element ends, and where the list's bracket closes.
    ends: Vec<usize>,
    open: usize,
    close: usize,
    /// Which object it belongs to.
    object: usize,
    kept: usize,
}

/// An object that may need an `omitted`.
#[derive(Default)]
struct Object {
    close: usize,
    empty: bool,
    /// Where the number of its present `omitted` stands.
    omitted: Option<Range<usize>>,
}

struct Outline {
    lists: Vec<List>,
    objects: Vec<Object>,
}

/// Whether `text` is one object, as far as brackets and strings go: a child that was killed while it wrote has left
/// half of one.
pub(super) fn is_object(text: &str) -> bool {
    text.starts_with('{') && outline(text).is_some()
}

/// The same for a list.
pub(super) fn is_list(text: &str) -> bool {
    text.starts_with('[') && outline(text).is_some()
}

/// `text`, shortened to `limit` bytes; `None` where dropping elements of lists is not enough.
pub(super) fn shorten(text: &str, limit: usize) -> Option<String> {
    if text.len() <= limit {
        return Some(text.to_owned());
    }
    let mut outline = outline(text)?;
    loop {
        let longest = outline
            .lists
            .iter_mut()
            .filter(|list| list.kept > 0)
            .max_by_key(|list| list.ends[list.kept - 1] - list.open)?;
        longest.kept /= 2;
        let shorter = render(text, &outline);
        if shorter.len() <= limit {
            return Some(shorter);
        }
    }
}

fn outline(text: &str) -> Option<Outline> {
    enum Frame {
        Object(usize),
        List(usize),
        /// A list inside a list is part of its element.
        Part,
    }
    let bytes = text.as_bytes();
    if !matches!(bytes.first(), Some(b'{' | b'[')) {
        return None;
    }
    let mut outline = Outline { lists: Vec::new(), objects: Vec::new() };
    let mut stack: Vec<Frame> = Vec::new();
    let mut key = "";
    let mut string = "";
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let from = at + 1;
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                string = text.get(from..at)?;
                mark_filled(
                    &mut outline,
                    stack.last().and_then(|frame| if let Frame::Object(id) = frame { Some(*id) } else { None }),
                );
            }
            b':' => {
                key = string;
                if let (Some(Frame::Object(id)), "omitted") = (stack.last(), key) {
                    let from = at + 1 + bytes[at + 1..].iter().take_while(|byte| **byte == b' ').count();
                    let to = from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    outline.objects[*id].omitted = (to > from).then_some(from..to);
                }
            }
            b'{' => {
                outline.objects.push(Object { empty: true, ..Object::default() });
                stack.push(Frame::Object(outline.objects.len() - 1));
            }
            b'[' => match stack.last() {
                Some(Frame::Object(object))
                    if !key.is_empty() && !stack.iter().any(|frame| !matches!(frame, Frame::Object(_))) =>
                {
                    let list = List { ends: Vec::new(), open: at, close: 0, object: *object, kept: 0 };
                    outline.lists.push(list);
                    stack.push(Frame::List(outline.lists.len() - 1));
                }
                _ => stack.push(Frame::Part),
            },
            b',' => {
                if let Some(Frame::List(list)) = stack.last() {
                    outline.lists[*list].ends.push(at);
                }
            }
            b']' => match stack.pop()? {
                Frame::List(id) => {
                    let list = &mut outline.lists[id];
                    if !text[list.open + 1..at].trim().is_empty() {
                        list.ends.push(at);
                    }
                    (list.close, list.kept) = (at, list.ends.len());
                }
                Frame::Part => {}
                Frame::Object(_) => return None,
            },
            b'}' => match stack.pop()? {
                Frame::Object(id) => outline.objects[id].close = at,
                Frame::List(_) | Frame::Part => return None,
            },
            _ => {}
        }
        if stack.len() > DEPTH {
            return None;
        }
        at += 1;
        if stack.is_empty() && at < bytes.len() {
            return text[at..].trim().is_empty().then_some(outline);
        }
    }
    stack.is_empty().then_some(outline)
}

fn mark_filled(outline: &mut Outline, object: Option<usize>) {
    if let Some(id) = object {
        outline.objects[id].empty = false;
    }
}

fn render(text: &str, outline: &Outline) -> String {
    let mut cut: BTreeMap<usize, u64> = BTreeMap::new();
    // What is left out or put in, by place.
    let mut edits: BTreeMap<(usize, usize), String> = BTreeMap::new();
    for list in outline.lists.iter().filter(|list| list.kept < list.ends.len()) {
        *cut.entry(list.object).or_default() += (list.ends.len() - list.kept) as u64;
        let from = if list.kept == 0 { list.open + 1 } else { list.ends[list.kept - 1] };
        edits.insert((from, list.close), String::new());
    }
    for (object, count) in cut {
        let object = &outline.objects[object];
        match &object.omitted {
            Some(range) => {
                let before: u64 = text[range.clone()].parse().unwrap_or(0);
                edits.insert((range.start, range.end), before.saturating_add(count).to_string());
            }
            None => {
                let comma = if object.empty { "" } else { "," };
                edits.insert((object.close, object.close), format!("{comma}\"omitted\":{count}"));
            }
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for ((from, to), put) in edits {
        out.push_str(&text[at..from]);
        out.push_str(&put);
        at = to;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn lists_lose_their_ends_and_the_rest_stays_json() {
        let names: Vec<Value> = (0..300).map(|n| json!({"path": format!("a \"[{{,{n}"), "reason": "denied"})).collect();
        let text =
            json!({"exit_code": 82, "commit": {"not_stored": names, "not_deleted": [], "omitted": 5, "error": null},
            "restore": {"refused": ["x", "y"]}})
            .to_string();
        let short = shorten(&text, 4096).expect("fits");
        assert!(short.len() <= 4096 && short.len() > 1500);
        let value: Value = serde_json::from_str(&short).expect("json");
        let kept = value["commit"]["not_stored"].as_array().expect("list").len() as u64;
        assert_eq!(value["commit"]["omitted"], json!(300 - kept + 5));
        assert_eq!(value["restore"], json!({"refused": ["x", "y"]}));
    }

    #[test]
    fn what_cannot_be_shortened_says_so() {
        assert_eq!(shorten(&json!({"error": "x".repeat(5000)}).to_string(), 4096), None);
    }

    #[test]
    fn half_an_object_is_none() {
        for text in ["", "{", "{\"a\":[1,2}", "{\"a\":\"", "{}{}", "[]", "{\"a\":\"\\", "nonsense"] {
            assert!(!is_object(text), "{text}");
        }
        assert!(is_object("{\"a\":[{},[]]} \n"));
        assert!(is_list("[{\"a\":1}]"));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u32>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec(("[a-z\"\\\\]{0,4}|omitted", inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_comes_out_is_json_and_fits(value in any_json(), limit in 2_usize..200) {
            let text = json!({"top": value, "list": [1, 2, 3]}).to_string();
            if let Some(short) = shorten(&text, limit) {
                prop_assert!(short.len() <= limit);
                prop_assert!(serde_json::from_str::<Value>(&short).is_ok(), "{short}");
            }
        }

        #[test]
        fn arbitrary_text_is_no_danger(text in ".{0,80}") {
            let _ = shorten(&text, 3);
            let _ = is_object(&text);
        }
    }
}
