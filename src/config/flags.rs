//! The flags: one for each variable, made from the table.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches};

use super::table::{Form, VARIABLES, Variable};

/// One flag per variable. They are global: they may stand before or behind the name of a command.
pub fn flag_args() -> impl Iterator<Item = Arg> {
    VARIABLES.iter().map(|variable| {
        let arg = Arg::new(variable.name)
            .long(variable.flag)
            .global(true)
            .help(match variable.default {
                Some(default) => format!("{} [default: {default}]", variable.doc),
                None => variable.doc.to_owned(),
            })
            .value_name(variable.form.placeholder())
            .help_heading(variable.group.heading())
            .hide_short_help(true);
        match variable.form {
            // The flag alone says yes; a value needs its equals sign, or it would swallow the next word.
            Form::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            Form::List(_) => arg.action(ArgAction::Append).allow_hyphen_values(true),
            _ => arg,
        }
    })
}

/// The values of the flags that were given, under the names of their variables. A repeated flag is a longer list.
#[must_use]
pub fn flag_values(matches: &ArgMatches) -> Vec<(&'static str, String)> {
    given(matches).map(|(variable, value)| (variable.name, value)).collect()
}

/// The same as words of a command line, secrets left out: what PID 1 passes on to its children.
#[must_use]
pub fn flag_words(matches: &ArgMatches) -> Vec<OsString> {
    given(matches)
        .filter(|(variable, _)| !variable.is_secret())
        .map(|(variable, value)| format!("--{}={value}", variable.flag).into())
        .collect()
}

fn given(matches: &ArgMatches) -> impl Iterator<Item = (&'static Variable, String)> {
    VARIABLES.iter().filter_map(|variable| {
        let values: Vec<_> = matches.try_get_many::<String>(variable.name).ok()??.map(String::as_str).collect();
        // Patterns may have commas in them, signals no newlines.
        let separator = if variable.form == Form::List("PATTERN") { "\n" } else { "," };
        Some((variable, values.join(separator)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    fn parse(words: &[&str]) -> ArgMatches {
        let command = Command::new("stopover").args(flag_args()).subcommand(Command::new("run"));
        let matches = command.try_get_matches_from([&["stopover"], words].concat()).unwrap();
        matches.subcommand().map_or(matches.clone(), |(_, matches)| matches.clone())
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        let matches = parse(&["--grace", "1s", "run", "--dir=/x", "--ignore", "a", "--ignore=-b"]);
        assert_eq!(
            flag_values(&matches),
            [("STOPOVER_DIR", "/x".into()), ("STOPOVER_IGNORE", "a\n-b".into()), ("STOPOVER_GRACE", "1s".into())]
        );
    }

    #[test]
    fn children_get_no_secret_on_their_command_line() {
        let matches = parse(&[
            "run",
            "--s3-secret-key",
            "hunter2",
            "--rewrite=TERM:QUIT",
            "--rewrite=INT:0",
            "--hide-credentials",
        ]);
        assert_eq!(flag_words(&matches), ["--hide-credentials=true", "--rewrite=TERM:QUIT,INT:0"]);
    }

    #[test]
    fn words_say_what_the_flags_said() {
        let matches =
            parse(&["run", "--together", "*.db:*.wal", "--together", "a,b", "--user", "1000", "--log", "debug"]);
        let words: Vec<_> = flag_words(&matches).into_iter().map(|word| word.into_string().unwrap()).collect();
        let words: Vec<_> = std::iter::once("run").chain(words.iter().map(String::as_str)).collect();
        assert_eq!(flag_values(&parse(&words)), flag_values(&matches));
    }
}
