//! JSON as people write it by hand: comments, trailing commas, single quotes, bare keys (`deno.jsonc`, `package.json5`).
//!
//! Plain JSON is read by the same parser, so that there is one. Bounded: nesting ends at [`MOST_NESTED`].

use serde_json::{Map, Number, Value};

/// As deep as serde_json goes.
const MOST_NESTED: usize = 127;

/// Why a text is no JSON5.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct Json5Error {
    line: usize,
    what: &'static str,
}

/// Reads one value and nothing behind it; a byte order mark before it is skipped, as npm and deno do.
pub(super) fn parse(text: &str) -> Result<Value, Json5Error> {
    let mut parser = Parser { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0 };
    let value = parser.value(0)?;
    parser.space()?;
    if parser.at < parser.text.len() { Err(parser.error("something follows the value")) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &'static str) -> Json5Error {
        Json5Error { line: self.text[..self.at].matches('\n').count() + 1, what }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.at += character.len_utf8();
        Some(character)
    }

    fn take(&mut self, expected: char) -> bool {
        let there = self.peek() == Some(expected);
        if there {
            self.at += expected.len_utf8();
        }
        there
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !wanted(character)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Skips white space and comments.
    fn space(&mut self) -> Result<(), Json5Error> {
        loop {
            self.take_while(|character| character.is_whitespace() || character == '\u{feff}');
            if self.rest().starts_with("//") {
                self.take_while(|character| !matches!(character, '\n' | '\r' | '\u{2028}' | '\u{2029}'));
            } else if let Some(comment) = self.rest().strip_prefix("/*") {
                let end = comment.find("*/").ok_or_else(|| self.error("a comment does not end"))?;
                self.at += end + 4;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Json5Error> {
        if depth > MOST_NESTED {
            return Err(self.error("nested too deeply"));
        }
        self.space()?;
        match self.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"' | '\'') => Ok(Value::String(self.string()?)),
            Some('+' | '-' | '.' | '0'..='9') => self.number(),
            Some(_) => match self.name() {
                "null" => Ok(Value::Null),
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                // JSON has no such numbers, and no manifest needs one.
                "Infinity" | "NaN" => Ok(Value::Null),
                _ => Err(self.error("a value is expected")),
            },
            None => Err(self.error("it ends where a value is expected")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Json5Error> {
        self.at += 1;
        let mut object = Map::new();
        loop {
            self.space()?;
            if self.take('}') {
                return Ok(Value::Object(object));
            }
            let key = match self.peek() {
                Some('"' | '\'') => self.string()?,
                _ => match self.name() {
                    "" => return Err(self.error("a key or } is expected")),
                    name => name.to_owned(),
                },
            };
            self.space()?;
            if !self.take(':') {
                return Err(self.error("a colon is expected"));
            }
            let value = self.value(depth + 1)?;
            object.insert(key, value);
            self.space()?;
            if !self.take(',') && self.peek() != Some('}') {
                return Err(self.error("a comma or } is expected"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Json5Error> {
        self.at += 1;
        let mut array = Vec::new();
        loop {
            self.space()?;
            if self.take(']') {
                return Ok(Value::Array(array));
            }
            array.push(self.value(depth + 1)?);
            self.space()?;
            if !self.take(',') && self.peek() != Some(']') {
                return Err(self.error("a comma or ] is expected"));
            }
        }
    }

    fn name(&mut self) -> &'a str {
        self.take_while(|character| character.is_alphanumeric() || matches!(character, '_' | '$'))
    }

    fn number(&mut self) -> Result<Value, Json5Error> {
        let text =
            self.take_while(|character| character.is_ascii_alphanumeric() || matches!(character, '+' | '-' | '.'));
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", text.strip_prefix('+').unwrap_or(text)),
        };
        if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            let number = i64::from_str_radix(hex, 16).map_err(|_| self.error("a number that is none"))?;
            return Ok(Value::from(if sign.is_empty() { number } else { -number }));
        }
        if digits == "Infinity" || digits == "NaN" {
            return Ok(Value::Null);
        }
        let signed = format!("{sign}{digits}");
        if let Ok(number) = signed.parse::<i64>() {
            return Ok(Value::from(number));
        }
        let number = signed.parse::<f64>().ok().and_then(Number::from_f64);
        number.map(Value::Number).ok_or_else(|| self.error("a number that is none"))
    }

    fn string(&mut self) -> Result<String, Json5Error> {
        let quote = self.next();
        let mut string = String::new();
        loop {
            match self.next() {
                None | Some('\n' | '\r') => return Err(self.error("a string does not end")),
                end if end == quote => return Ok(string),
                Some('\\') => self.escape(&mut string)?,
                Some(character) => string.push(character),
            }
        }
    }

    fn escape(&mut self, string: &mut String) -> Result<(), Json5Error> {
        let character = match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('v') => '\u{b}',
            Some('0') => '\0',
            Some('x') => self.code(2)?,
            Some('u') => self.unicode()?,
            // A line that goes on.
            Some('\r') => {
                self.take('\n');
                return Ok(());
            }
            Some('\n' | '\u{2028}' | '\u{2029}') => return Ok(()),
            Some(other) => other,
            None => return Err(self.error("a string does not end")),
        };
        string.push(character);
        Ok(())
    }

    fn code_unit(&mut self, digits: usize) -> Result<u32, Json5Error> {
        let hex = self.rest().get(..digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let unit = unit.ok_or_else(|| self.error("an escape that is none"))?;
        self.at += digits;
        Ok(unit)
    }

    fn code(&mut self, digits: usize) -> Result<char, Json5Error> {
        let unit = self.code_unit(digits)?;
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    /// `\uXXXX`, and a pair of them where one is not enough.
    fn unicode(&mut self) -> Result<char, Json5Error> {
        let first = self.code_unit(4)?;
        if (0xd800..0xdc00).contains(&first) && self.rest().starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.code_unit(4)?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_people_write_by_hand_is_read() {
        let text = "\u{feff}// deno\n{ /* a */ 'tasks': { start: \"deno run -A main.ts\", }, list: [1, .5, 0x10, -2,],\n\
                    $x: 'it\\'s', \"u\": \"\\u00e9\\ud83d\\ude00\\\n!\", yes: true, no: null, far: -Infinity }\n// end";
        let wanted = json!({"tasks": {"start": "deno run -A main.ts"}, "list": [1, 0.5, 16, -2], "$x": "it's",
            "u": "é😀!", "yes": true, "no": null, "far": null});
        assert_eq!(parse(text), Ok(wanted));
    }

    #[test]
    fn what_is_broken_is_named_with_its_line() {
        for (text, line, what) in [
            ("", 1, "it ends where a value is expected"),
            ("{\n\"a\": 1\n\"b\": 2}", 3, "a comma or } is expected"),
            ("{\"a\" 1}", 1, "a colon is expected"),
            ("[1 2]", 1, "a comma or ] is expected"),
            ("{} {}", 1, "something follows the value"),
            ("/* x", 1, "a comment does not end"),
            ("\"x\n\"", 2, "a string does not end"),
            ("[nul]", 1, "a value is expected"),
            ("{,}", 1, "a key or } is expected"),
            ("\"\\u12é\"", 1, "an escape that is none"),
        ] {
            assert_eq!(parse(text), Err(Json5Error { line, what }), "{text:?}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn plain_json_means_the_same(value in any_json()) {
            prop_assert_eq!(parse(&value.to_string()), Ok(value.clone()));
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            prop_assert_eq!(parse(&pretty), Ok(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,'\"\\\\/*u0-9a-f é\n.+-]{0,64}") {
            let _ = parse(&text);
        }
    }
}
