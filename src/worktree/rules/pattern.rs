//! One line of an ignore file, with git's meaning of it, byte for byte.
//!
//! Written after gitignore(5) and checked against `git check-ignore`. Paths and patterns are bytes: a name that is not
//! UTF-8 is matched like any other.

/// One pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    /// As written, for messages.
    pub(super) text: Box<str>,
    /// Its line, from 1.
    pub(super) line: u64,
    /// Begins with `!`: brings back.
    pub(super) negated: bool,
    /// Ends in `/`: directories only.
    dir_only: bool,
    /// What it is compared with.
    body: Body,
    /// Its segments, where it has a slash: to know what it leads to.
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Body {
    /// The last segment is exactly this.
    Name(Box<[u8]>),
    /// The last segment ends so.
    NameEnd(Box<[u8]>),
    /// The last segment matches.
    NameGlob(Box<[Token]>),
    /// The whole path, from the ignore file's directory, is exactly this.
    Path(Box<[u8]>),
    /// The whole path matches.
    PathGlob(Box<[Token]>),
    /// It can match nothing, and why.
    Never(&'static str),
}

#[derive(Debug)]
enum Segment {
    /// `**`
    Any,
    /// Anything else, and whether it says a character at all (`*` and `?` alone name nothing).
    Glob { tokens: Box<[Token]>, names: bool },
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `[...]`, without the slash, which no class matches.
    Class(Box<[u64; 4]>),
    /// `*`: a run without slash.
    Run,
    /// `**` at the end or before an escaped slash: any run.
    Deep,
    /// `**/`: nothing, or any run that ends in a slash.
    Dirs,
}

impl Pattern {
    /// Reads a line without its newline; `None` where it says nothing.
    pub(super) fn parse(line: &[u8], number: u64) -> Option<Self> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() || line[0] == b'#' {
            return None;
        }
        // git reads C strings.
        let line = line.split(|&byte| byte == 0).next().unwrap_or_default();
        let line = without_trailing_spaces(line);
        let (negated, rest) = line.strip_prefix(b"!").map_or((false, line), |rest| (true, rest));
        let (dir_only, rest) = rest.strip_suffix(b"/").map_or((false, rest), |rest| (true, rest));
        let anchored = rest.contains(&b'/');
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let literal = !rest.iter().any(|byte| b"*?[\\".contains(byte));
        let body = match (anchored, literal) {
            _ if rest.is_empty() => Body::Never("it is empty"),
            (false, true) => Body::Name(rest.into()),
            (true, true) => Body::Path(rest.into()),
            (false, false) => match compile(rest) {
                Ok(tokens) => match tokens.split_first() {
                    Some((Token::Run, end)) if end.iter().all(|token| matches!(token, Token::Byte(_))) => {
                        Body::NameEnd(end.iter().filter_map(Token::byte).collect())
                    }
                    _ => Body::NameGlob(tokens),
                },
                Err(reason) => Body::Never(reason),
            },
            (true, false) => compile(rest).map_or_else(Body::Never, Body::PathGlob),
        };
        let segments = if anchored && !matches!(body, Body::Never(_)) { split(rest) } else { Vec::new() };
        let text = String::from_utf8_lossy(line).into();
        Some(Self { text, line: number, negated, dir_only, body, segments })
    }

    /// Why it can match nothing, if so.
    pub(super) const fn defect(&self) -> Option<&'static str> {
        match self.body {
            Body::Never(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether it matches `path`, which is relative to the ignore file's directory.
    pub(super) fn matches(&self, path: &[u8], name: &[u8], is_dir: bool) -> bool {
        if self.dir_only && !is_dir {
            return false;
        }
        match &self.body {
            Body::Name(known) => **known == *name,
            Body::NameEnd(end) => name.ends_with(end),
            Body::NameGlob(tokens) => glob(tokens, name),
            Body::Path(known) => **known == *path,
            Body::PathGlob(tokens) => glob(tokens, path),
            Body::Never(_) => false,
        }
    }

    /// Whether it names the directory `dir` on its way: `a/b/c` names `a` and `a/b`; neither `*.c`, `*/c` nor `**/c`
    /// names anything.
    pub(super) fn names(&self, dir: &[u8]) -> bool {
        (1..self.segments.len()).any(|count| {
            let front = &self.segments[..count];
            matches!(front.last(), Some(Segment::Glob { names: true, .. })) && covers(front, &parts(dir))
        })
    }

    /// Whether something below the directory `dir` may match.
    pub(super) fn leads_below(&self, dir: &[u8]) -> bool {
        leads(&self.segments, &parts(dir))
    }
}

impl Token {
    fn byte(&self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(*byte),
            _ => None,
        }
    }
}

fn parts(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&byte| byte == b'/').collect()
}

/// Whether the segments match all the parts.
fn covers(segments: &[Segment], parts: &[&[u8]]) -> bool {
    match segments.split_first() {
        None => parts.is_empty(),
        Some((Segment::Any, rest)) => (0..=parts.len()).any(|skip| covers(rest, &parts[skip..])),
        Some((Segment::Glob { tokens, .. }, rest)) => {
            parts.split_first().is_some_and(|(part, below)| glob(tokens, part) && covers(rest, below))
        }
    }
}

/// Whether the parts can be the beginning of something longer that the segments match.
fn leads(segments: &[Segment], parts: &[&[u8]]) -> bool {
    match (segments.split_first(), parts.split_first()) {
        (None, _) => false,
        (Some((Segment::Any, _)), _) | (Some(_), None) => true,
        (Some((Segment::Glob { tokens, .. }, rest)), Some((part, below))) => glob(tokens, part) && leads(rest, below),
    }
}

fn split(body: &[u8]) -> Vec<Segment> {
    body.split(|&byte| byte == b'/')
        .map(|segment| {
            if segment.len() > 1 && segment.iter().all(|&byte| byte == b'*') {
                return Segment::Any;
            }
            let names = segment.iter().any(|byte| !b"*?".contains(byte));
            // A segment that is no pattern by itself (a class with a slash in it) matches nothing.
            let tokens = compile(segment).unwrap_or_else(|_| [Token::Class(Box::default())].into());
            Segment::Glob { tokens, names }
        })
        .collect()
}

/// Trailing spaces do not count, unless a backslash stands before them.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' => at += 1,
            b'\\' if at + 1 == line.len() => return line,
            b'\\' => {
                at += 2;
                end = at;
            }
            _ => {
                at += 1;
                end = at;
            }
        }
    }
    &line[..end]
}

fn compile(pattern: &[u8]) -> Result<Box<[Token]>, &'static str> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        match byte {
            b'\\' => {
                let escaped = pattern.get(at + 1).ok_or("it ends in a backslash")?;
                tokens.push(Token::Byte(*escaped));
                at += 2;
            }
            b'?' => {
                tokens.push(Token::One);
                at += 1;
            }
            b'*' => {
                let stars = pattern[at..].iter().take_while(|&&byte| byte == b'*').count();
                let begins = at == 0 || pattern[at - 1] == b'/';
                at += stars;
                match &pattern[at..] {
                    [b'/', ..] if begins && stars > 1 => {
                        tokens.push(Token::Dirs);
                        at += 1;
                    }
                    [] | [b'\\', b'/', ..] if begins && stars > 1 => tokens.push(Token::Deep),
                    _ => tokens.push(Token::Run),
                }
            }
            b'[' => {
                let (class, length) = class(&pattern[at..]).ok_or("its [ has no end or a class nobody knows")?;
                tokens.push(Token::Class(Box::new(class)));
                at += length;
            }
            _ => {
                tokens.push(Token::Byte(byte));
                at += 1;
            }
        }
    }
    Ok(tokens.into())
}

/// Reads a class from its `[` on: the bytes in it, and how long it is.
fn class(pattern: &[u8]) -> Option<([u64; 4], usize)> {
    let mut set = [0_u64; 4];
    let mut add = |byte: u8| set[usize::from(byte >> 6)] |= 1 << (byte & 63);
    let mut at = 1;
    let negated = matches!(pattern.get(at)?, b'!' | b'^');
    at += usize::from(negated);
    let first = at;
    let mut before: Option<u8> = None;
    loop {
        match *pattern.get(at)? {
            b']' if at > first => break,
            b'\\' => {
                let byte = *pattern.get(at + 1)?;
                add(byte);
                before = Some(byte);
                at += 2;
            }
            b'-' if before.is_some() && *pattern.get(at + 1)? != b']' => {
                at += 1;
                if pattern[at] == b'\\' {
                    at += 1;
                }
                let to = *pattern.get(at)?;
                (before.unwrap_or(to)..=to).for_each(&mut add);
                before = None;
                at += 1;
            }
            b'[' if pattern.get(at + 1) == Some(&b':') => {
                let close = at + 2 + pattern[at + 2..].iter().position(|&byte| byte == b']')?;
                if close > at + 2 && pattern[close - 1] == b':' {
                    let member = named_class(&pattern[at + 2..close - 1])?;
                    (0..=u8::MAX).filter(member).for_each(&mut add);
                    before = None;
                    at = close + 1;
                } else {
                    // No `:]`: a plain bracket, and the set goes on with the colon.
                    add(b'[');
                    before = Some(b'[');
                    at += 1;
                }
            }
            byte => {
                add(byte);
                before = Some(byte);
                at += 1;
            }
        }
    }
    if negated {
        set = set.map(|word| !word);
    }
    set[usize::from(b'/' >> 6)] &= !(1 << (b'/' & 63));
    Some((set, at + 1))
}

/// The classes of POSIX in the C locale, with git's idea of a space.
fn named_class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"punct" => u8::is_ascii_punctuation,
        b"space" => space,
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

/// Whether the tokens match all of `text`. Never more than one `*` and one `**` are open: the last `*` of a segment can
/// take over for those before it, the last `**` for all before it. So no pattern is exponential.
fn glob(tokens: &[Token], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where to go on, and from where in the text.
    let mut run: Option<(usize, usize)> = None;
    let mut deep: Option<(usize, usize, bool)> = None;
    loop {
        let matched = match (tokens.get(at), text.get(here)) {
            (Some(Token::Run), _) => {
                run = Some((at + 1, here));
                at += 1;
                continue;
            }
            (Some(token @ (Token::Deep | Token::Dirs)), _) => {
                deep = Some((at + 1, here, *token == Token::Dirs));
                run = None;
                at += 1;
                continue;
            }
            (None, None) => return true,
            (Some(Token::Byte(wanted)), Some(byte)) => wanted == byte,
            (Some(Token::One), Some(byte)) => *byte != b'/',
            (Some(Token::Class(set)), Some(byte)) => set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1,
            (None, Some(_)) | (Some(_), None) => false,
        };
        if matched {
            at += 1;
            here += 1;
            continue;
        }
        if let Some((resume, from)) = run
            && text.get(from).is_some_and(|&byte| byte != b'/')
        {
            run = Some((resume, from + 1));
            (at, here) = (resume, from + 1);
            continue;
        }
        let Some((resume, from, dirs)) = deep else { return false };
        let next = if dirs {
            text[from..].iter().position(|&byte| byte == b'/').map(|slash| from + slash + 1)
        } else {
            (from < text.len()).then_some(from + 1)
        };
        let Some(next) = next else { return false };
        deep = Some((resume, next, dirs));
        run = None;
        (at, here) = (resume, next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(line: &str) -> Pattern {
        Pattern::parse(line.as_bytes(), 1).unwrap()
    }

    fn matches(line: &str, path: &str) -> bool {
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let name = path.rsplit('/').next().unwrap();
        pattern(line).matches(path.as_bytes(), name.as_bytes(), is_dir)
    }

    #[test]
    fn patterns_mean_what_gitignore_says() {
        for (line, yes, no) in [
            ("foo", "a/foo", "a/foobar"),
            ("foo/", "a/foo/", "a/foo"),
            ("/foo", "foo", "a/foo"),
            ("a/b", "a/b", "x/a/b"),
            ("*.log", "a/.log", "a/log"),
            ("a/*", "a/b", "a/b/c"),
            ("a/**", "a/b/c", "a"),
            ("**/b", "b", "ab"),
            ("a/**/b", "a/b", "ab"),
            ("a/**/b", "a/x/y/b", "a/x/yb"),
            ("a**b/c", "axxb/c", "ax/b/c"),
            ("x[a-c]", "xb", "xd"),
            ("x[!a-c]", "xd", "xb"),
            ("x[]-]", "x]", "xa"),
            ("x[[:digit:]]", "x7", "xx"),
            ("x[\\]]", "x]", "x\\"),
            ("\\#x", "#x", "x"),
            ("\\!x", "!x", "x"),
            ("x\\ ", "x ", "x"),
            ("x  ", "x", "x  "),
            ("f?o", "foo", "f/o"),
            ("{a,b}", "{a,b}", "a"),
            ("a/?/b", "a/x/b", "a//b"),
        ] {
            assert!(matches(line, yes), "{line} matches {yes}");
            assert!(!matches(line, no), "{line} does not match {no}");
        }
    }

    #[test]
    fn what_can_match_nothing_says_why() {
        for line in ["[a", "x\\", "[[:nope:]]", "/", "!"] {
            assert!(pattern(line).defect().is_some(), "{line}");
        }
        assert!(Pattern::parse(b"# comment", 1).is_none());
        assert!(Pattern::parse(b"\r", 1).is_none());
    }

    #[test]
    fn a_pattern_knows_where_it_leads() {
        for (line, named, led, not) in [
            ("!node_modules/keep", "node_modules", "node_modules", "src"),
            ("!a/b/c", "a/b", "a", "a/c"),
            ("!/a/**", "a", "a/x/y", "b"),
            ("!**/vendor/x", "lib/vendor", "anything", "\0"),
        ] {
            let pattern = pattern(line);
            assert!(pattern.names(named.as_bytes()), "{line} names {named}");
            assert!(pattern.leads_below(led.as_bytes()), "{line} leads below {led}");
            assert!(!pattern.names(not.as_bytes()), "{line} does not name {not}");
        }
        for line in ["!*.log", "!keep", "!**/keep", "!*/keep", "!keep/"] {
            assert!(!pattern(line).names(b"node_modules"), "{line} names nothing");
        }
        assert!(!pattern("!a/b").leads_below(b"a/b"));
    }

    /// The definition: every way tried.
    fn slow(tokens: &[Token], text: &[u8]) -> bool {
        let Some((first, rest)) = tokens.split_first() else { return text.is_empty() };
        match first {
            Token::Run => {
                let reach = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
                (0..=reach).any(|skip| slow(rest, &text[skip..]))
            }
            Token::Deep => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            Token::Dirs => {
                slow(rest, text) || (0..text.len()).any(|slash| text[slash] == b'/' && slow(rest, &text[slash + 1..]))
            }
            Token::Byte(byte) => text.first() == Some(byte) && slow(rest, &text[1..]),
            Token::One => text.first().is_some_and(|&byte| byte != b'/') && slow(rest, &text[1..]),
            Token::Class(set) => {
                text.first().is_some_and(|byte| set[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1)
                    && slow(rest, &text[1..])
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_quick_match_is_the_definition(
            pattern in "([ab*?/]|\\*\\*|\\[ab\\]){1,9}",
            text in "[ab]{1,3}(/[ab]{1,3}){0,4}",
        ) {
            if let Ok(tokens) = compile(pattern.as_bytes()) {
                prop_assert_eq!(glob(&tokens, text.as_bytes()), slow(&tokens, text.as_bytes()));
            }
        }

        #[test]
        fn no_line_is_fatal(line in proptest::collection::vec(any::<u8>(), 0..40), path in "[a-c\\[\\]/!-]{1,20}") {
            if let Some(pattern) = Pattern::parse(&line, 1) {
                let _ = pattern.matches(path.as_bytes(), b"name", true);
                let _ = pattern.names(path.as_bytes()) | pattern.leads_below(path.as_bytes());
            }
        }
    }

    #[test]
    fn no_pattern_is_exponential() {
        let line = "a*".repeat(100) + "/" + &"**/a*".repeat(50) + "b";
        let text = "a".repeat(4000);
        assert!(!matches(&line, &text));
        let deep = "a/".repeat(1500) + "a";
        assert!(!matches(&("**/a*/".repeat(60) + "b"), &deep));
    }
}
