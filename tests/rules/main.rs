//! A test of the tests: each rule of DESIGN that keeps data safe is switched off, one at a time, and the test that is
//! there for it must fail. A rule whose absence nothing notices is a rule that the next change can lose.
//!
//! The tables say for each rule where in the source it stands and what is there when it is off. `just rules` copies the
//! sources, puts a switch at every one of these places, builds that once, and runs each rule's test twice: with all
//! rules on it must pass, with its rule off it must fail. (Which one is off a process reads from a file when it first
//! comes to a switch: so the children that tests start hear of it, too.) `STOPOVER_TEST_ONLY=WORD,WORD` takes the rules
//! that have one of the words in them, or whose test is in the target of that name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod catch_up;
mod commit;
mod copy;
mod formats;
mod local;
mod pull;
mod sweep;

use std::{collections::BTreeSet, fs, path::Path};

use copy::{Copied, Ran};

/// A rule, where it stands, and the test that holds it.
struct Rule {
    /// Of DESIGN.
    section: &'static str,
    says: &'static str,
    switches: &'static [Switch],
    test: Test,
}

/// A place in the source: its file, the text with the expression that is the rule in «», and what is there instead.
type Switch = (&'static str, &'static str, &'static str);

/// A test by its target (`lib`, or a file of `tests/`) and its name.
type Test = (&'static str, &'static str);

const fn rule(section: &'static str, says: &'static str, switches: &'static [Switch], test: Test) -> Rule {
    Rule { section, says, switches, test }
}

fn rules() -> Vec<Rule> {
    [commit::RULES, catch_up::RULES, pull::RULES, sweep::RULES, formats::RULES, local::RULES]
        .into_iter()
        .flatten()
        .map(|rule| Rule { ..*rule })
        .collect()
}

/// The text of a switch, and where in it the rule stands.
fn parts(at: &str) -> (&str, &str, &str) {
    let (before, rest) = at.split_once('«').expect("a rule begins with «");
    let (rule, after) = rest.split_once('»').expect("a rule ends with »");
    (before, rule, after)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_rule_stands_once_where_the_table_says() {
    let mut wrong = Vec::new();
    for rule in rules() {
        for (file, at, _) in rule.switches {
            let source = fs::read_to_string(root().join(file)).unwrap_or_default();
            let (before, text, after) = parts(at);
            let times = source.matches(&format!("{before}{text}{after}")).count();
            if times != 1 {
                wrong.push(format!("{} (section {}): {times} times in {file}: {at}", rule.says, rule.section));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // And none stands in another one.
    copy::switched(Path::new("off"));
}

#[test]
fn every_rule_has_a_name_of_its_own_and_a_test_that_is_there() {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for rule in rules() {
        if !names.insert(rule.says) || rule.says.contains(['"', '\\']) {
            wrong.push(format!("{}: no name of its own", rule.says));
        }
        let (target, name) = rule.test;
        let function = format!("fn {}(", name.rsplit("::").next().unwrap());
        if !sources_of(target, name).iter().any(|source| source.contains(&function)) {
            wrong.push(format!("{}: {target} has no {function}", rule.says));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files that a test can be in.
fn sources_of(target: &str, name: &str) -> Vec<String> {
    if target != "lib" {
        let mut all = vec![root().join(format!("tests/{target}.rs"))];
        let beside = fs::read_dir(root().join("tests").join(target)).into_iter().flatten();
        all.extend(beside.map(|entry| entry.unwrap().path()));
        return all.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    }
    let modules: Vec<&str> = name.split("::").collect();
    // `plan::merge::tests::name` is in plan/merge.rs, plan/merge_tests.rs or plan/merge/mod.rs.
    let module = root().join("src").join(modules[..modules.len() - 2].join("/"));
    let named = |tail: &str| fs::read_to_string(format!("{}{tail}", module.display())).ok();
    [named(".rs"), named("_tests.rs"), named("/mod.rs")].into_iter().flatten().collect()
}

#[test]
#[ignore = "builds all of stopover anew, and runs a hundred tests one after the other: `just rules`"]
fn without_its_rule_each_test_fails() {
    let only = std::env::var("STOPOVER_TEST_ONLY").unwrap_or_default();
    let is_meant = |rule: &Rule| only.split(',').any(|word| rule.says.contains(word) || rule.test.0 == word);
    let rules: Vec<Rule> = rules().into_iter().filter(is_meant).collect();
    assert!(!rules.is_empty(), "no rule has {only:?} in it, and no target is called so");
    let targets: BTreeSet<&str> = rules.iter().map(|rule| rule.test.0).collect();
    let copied = Copied::build(&targets);
    let tests: BTreeSet<Test> = rules.iter().map(|rule| rule.test).collect();
    let mut wrong = Vec::new();
    for (target, name) in tests {
        if !matches!(copied.run((target, name), None), Ran::Passed) {
            wrong.push(format!("{target} {name} fails with every rule on"));
            println!("{}", wrong.last().unwrap());
        }
    }
    for rule in &rules {
        let (target, name) = rule.test;
        let (word, seconds) = match copied.run(rule.test, Some(rule.says)) {
            Ran::Failed(seconds) => ("noticed", seconds),
            Ran::Passed => ("NOT NOTICED", 0.0),
            Ran::Hung => ("HANGS", 0.0),
            Ran::None => ("NO SUCH TEST", 0.0),
        };
        println!("{word:<12} {:<4} {} ({target} {name}, {seconds:.1} s)", rule.section, rule.says);
        if word != "noticed" {
            wrong.push(format!("{word}: section {}: {}", rule.section, rule.says));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
