//! Which command lines need a shell, and how a shell is made to step aside.

/// What is the shell's own: such a word cannot be executed.
const BUILT_IN: [&str; 30] = [
    ".", ":", "!", "{", "[[", "alias", "break", "case", "cd", "command", "continue", "eval", "exit", "export", "for",
    "function", "if", "read", "return", "set", "shift", "source", "time", "trap", "type", "ulimit", "umask", "unset",
    "until", "while",
];

/// A command line that means the same without a shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Simple {
    pub(super) environment: Vec<(String, String)>,
    pub(super) command: Vec<String>,
}

/// Takes a line apart, if nothing in it needs a shell: no variable, no pattern, no operator, no built-in command.
pub(super) fn simple(line: &str) -> Option<Simple> {
    // Even within quotes: rare enough not to tell them apart.
    if line.contains(['$', '`', ';', '&', '|', '<', '>', '(', ')', '*', '?', '[', ']', '{', '}', '~', '#', '!', '\n']) {
        return None;
    }
    let mut words = shlex::split(line)?.into_iter().peekable();
    let mut environment = Vec::new();
    while let Some((name, value)) = words.peek().and_then(|word| assignment(word)) {
        environment.push((name.to_owned(), value.to_owned()));
        words.next();
    }
    words.next_if(|word| word == "exec");
    let command: Vec<_> = words.collect();
    let first = command.first()?;
    (!first.is_empty() && !BUILT_IN.contains(&first.as_str())).then_some(Simple { environment, command })
}

/// The line for `sh -c`, with `exec` in front of its command if there is only one.
pub(super) fn handing_over(line: &str) -> String {
    if line.contains([';', '&', '|', '(', ')', '`', '\n', '<', '#']) {
        return line.to_owned();
    }
    let mut rest = line.trim_start();
    loop {
        let word = rest.split(char::is_whitespace).next().unwrap_or_default();
        if assignment(word).is_none() {
            let built_in = word.is_empty() || word == "exec" || BUILT_IN.contains(&word);
            let before = &line[..line.len() - rest.len()];
            return if built_in { line.to_owned() } else { format!("{before}exec {rest}") };
        }
        // A quoted value may hold spaces, and the next word would be in the middle of it.
        if word.contains(['\'', '"', '\\']) {
            return line.to_owned();
        }
        rest = rest[word.len()..].trim_start();
    }
}

/// `NAME=VALUE`.
fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (starts && is_name).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_simple_if_it_means_the_same_without_a_shell() {
        for (line, environment, command) in [
            ("node server.js", vec![], vec!["node", "server.js"]),
            ("exec node .", vec![], vec!["node", "."]),
            ("A=1 B='x y' node -e \"a b\"", vec![("A", "1"), ("B", "x y")], vec!["node", "-e", "a b"]),
            ("next start -p 3000", vec![], vec!["next", "start", "-p", "3000"]),
        ] {
            let simple = simple(line).unwrap();
            let got: Vec<_> = simple.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!((got, simple.command.iter().map(String::as_str).collect::<Vec<_>>()), (environment, command));
        }
        for line in [
            "node a && node b",
            "node $PORT",
            "node a; b",
            "a | b",
            "a > b",
            "node *.js",
            "cd x",
            "A=1",
            "",
            "node 'x",
            "`x`",
            "source env",
            "~/x",
            "node a # comment",
            "echo {a,b}",
            "a &",
            "''",
        ] {
            assert_eq!(simple(line), None, "{line}");
        }
    }

    #[test]
    fn a_shell_hands_over_to_a_single_command() {
        for (line, wanted) in [
            ("gunicorn app:app -b :$PORT", "exec gunicorn app:app -b :$PORT"),
            ("A=1 B=$C node x", "A=1 B=$C exec node x"),
            ("A='1 2' node x", "A='1 2' node x"),
            ("a && b", "a && b"),
            ("cd app; node x", "cd app; node x"),
            ("exec node x", "exec node x"),
            ("if true; then x; fi", "if true; then x; fi"),
            ("echo \"${A:-b}\"", "exec echo \"${A:-b}\""),
            ("A=1", "A=1"),
            ("", ""),
        ] {
            assert_eq!(handing_over(line), wanted);
        }
    }
}
