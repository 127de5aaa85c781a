//! Ignore rules: git's own for `.gitignore` (the oracle is `git check-ignore`), and what ours add to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
    process::{Command, Stdio},
};

use stopover::{
    rows::{Kind, RelPath},
    worktree::{BUILT_IN, Directory, Index, RuleOptions, Rules, ScanOptions, Verdict, explain, is_rule_input, scan},
};

/// One seed, one sequence: a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a [u8]]) -> &'a [u8] {
        choices[self.below(choices.len())]
    }
}

const NAMES: [&[u8]; 40] = [
    b"a",
    b"b",
    b"c",
    b"ab",
    b"abc",
    b"aa",
    b"a.log",
    b"b.txt",
    b"x-y",
    b"A",
    b"foo",
    b"bar",
    b"foobar",
    b"f1",
    b".env",
    b".env.local",
    b".env.x.local",
    b".env.example",
    b".DS_Store",
    b".vscode",
    b".venv",
    b"__pycache__",
    b"node_modules",
    b"dist",
    b"build",
    b"vendor",
    b"composer.json",
    b"Gemfile",
    b" a",
    b"a ",
    b"a b",
    b"#a",
    b"!a",
    b"[a]",
    b"a*",
    b"a\\b",
    b"a]",
    "\u{e9}".as_bytes(),
    b"caf\xe9",
    b"{a,b}",
];

const PIECES: [&[u8]; 44] = [
    b"a",
    b"b",
    b"ab",
    b"abc",
    b"foo",
    b"bar",
    b"*",
    b"*",
    b"*",
    b"?",
    b"**",
    b"***",
    b"[ab]",
    b"[!a]",
    b"[^ab]",
    b"[a-c]",
    b"[]a]",
    b"[!]a]",
    b"[a-]",
    b"[--a]",
    b"[\\]a]",
    b"[a",
    b"[[:alpha:]]",
    b"[[:digit:]x]",
    b"[[:nope:]]",
    b"[[:]",
    b"[[:alpha]",
    b"[c-a]",
    b"[a-c-e]",
    b"\\a",
    b"\\*",
    b"\\[a]",
    b"\\\\",
    b".log",
    b".*",
    b"*.log",
    b"node_modules",
    b"vendor",
    b"build",
    b".env*",
    "\u{e9}".as_bytes(),
    b"caf\xe9",
    b"{a,b}",
    b"\xff",
];

fn pattern(dice: &mut Dice) -> Vec<u8> {
    let mut line = Vec::new();
    if dice.one_in(4) {
        line.push(b'!');
    }
    line.extend_from_slice(dice.of(&[b"", b"", b"", b"", b"", b"/", b"**/", b"*/", b"\\!", b"\\#", b"#", b" "]));
    for segment in 0..=dice.of(&[b"1", b"1", b"22", b"333"]).len() - 1 {
        if segment > 0 {
            line.push(b'/');
        }
        if dice.one_in(3) {
            line.extend_from_slice(NAMES[dice.below(NAMES.len())]);
        } else {
            for _ in 0..=dice.below(2) {
                line.extend_from_slice(PIECES[dice.below(PIECES.len())]);
            }
        }
    }
    let ends: [&[u8]; 16] =
        [b"", b"", b"", b"", b"", b"", b"", b"/", b"/", b"/", b"/*", b"/**", b" ", b"\\ ", b"\r", b"\\"];
    line.extend_from_slice(dice.of(&ends));
    line
}

/// Older versions of git forget what stood before the first wildcard and so takes the `**` of `a**/b` for one at the
/// beginning of a segment. gitignore(5) says that it is a plain `*` there, and newer ones do as it says.
fn is_read_differently_by_old_versions(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"!").unwrap_or(line);
    let line = line.strip_prefix(b"/").unwrap_or(line);
    let plain = line.iter().take_while(|byte| !b"*?[\\".contains(byte)).count();
    plain > 0 && line[plain - 1] != b'/' && line[plain..].starts_with(b"**")
}

fn ignore_file(dice: &mut Dice) -> Vec<u8> {
    let mut text: Vec<u8> = if dice.one_in(12) { b"\xef\xbb\xbf".to_vec() } else { Vec::new() };
    for _ in 0..=dice.below(5) {
        let line = pattern(dice);
        if !is_read_differently_by_old_versions(&line) {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
    }
    if dice.one_in(5) {
        text.pop();
    }
    text
}

/// Fills `path` with a few levels of entries, and ignore files here and there.
fn grow(dice: &mut Dice, path: &Path, depth: usize) {
    fs::create_dir_all(path).unwrap();
    if depth == 0 || dice.one_in(3) {
        match dice.below(40) {
            0 => fs::create_dir_all(path.join(".gitignore/a")).unwrap(),
            1 => symlink("b", path.join(".gitignore")).unwrap(),
            _ => fs::write(path.join(".gitignore"), ignore_file(dice)).unwrap(),
        }
    }
    for _ in 0..2 + dice.below(5) {
        let entry = path.join(OsStr::from_bytes(NAMES[dice.below(NAMES.len())]));
        if entry.symlink_metadata().is_ok() {
            continue;
        }
        match dice.below(8) {
            0..=3 if depth < 3 => grow(dice, &entry, depth + 1),
            4 => symlink("a", entry).unwrap(),
            _ => fs::write(entry, "").unwrap(),
        }
    }
}

/// Every entry below `top`, directories not through links.
fn entries(top: &Path) -> Vec<(RelPath, Kind)> {
    let mut found = Vec::new();
    let mut stack = vec![top.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if entry.file_name() == ".git" || entry.file_name() == ".stopover" {
                continue;
            }
            if kind.is_dir() {
                stack.push(entry.path());
            }
            let path = RelPath::new(entry.path().strip_prefix(top).unwrap().as_os_str().as_bytes()).unwrap();
            let kind = if kind.is_dir() {
                Kind::Dir
            } else if kind.is_symlink() {
                Kind::Symlink
            } else {
                Kind::File
            };
            found.push((path, kind));
        }
    }
    found.sort();
    found
}

fn git_version() -> Option<String> {
    let output = Command::new("git").arg("version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What git says of each path: the deciding pattern, its line and its source.
fn ask_git(top: &Path, excludes: &Path, paths: &[(RelPath, Kind)]) -> BTreeMap<RelPath, (String, u64, String)> {
    // What `git init` would make, without asking a template.
    for directory in ["objects", "refs"] {
        fs::create_dir_all(top.join(".git").join(directory)).unwrap();
    }
    fs::write(top.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
    let mut git = Command::new("git")
        .args(["-c", &format!("core.excludesFile={}", excludes.display()), "-c", "safe.directory=*"])
        .args(["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"])
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(top)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut questions = git.stdin.take().unwrap();
    let input: Vec<u8> = paths.iter().flat_map(|(path, _)| [path.as_bytes(), b"\0"].concat()).collect();
    let asking = std::thread::spawn(move || questions.write_all(&input).unwrap());
    let output = git.wait_with_output().unwrap();
    asking.join().unwrap();
    let words: Vec<&[u8]> = output.stdout.split(|&byte| byte == 0).collect();
    let answers: BTreeMap<_, _> = words
        .chunks_exact(4)
        .map(|answer| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let line = text(answer[1]).parse().unwrap_or(0);
            (RelPath::new(answer[3]).unwrap(), (text(answer[2]), line, text(answer[0])))
        })
        .collect();
    assert_eq!(answers.len(), paths.len(), "git answers every question");
    answers
}

/// The built-in list as git can have it: `vendor/` only where a manifest is beside it.
fn excludes_of(paths: &[(RelPath, Kind)]) -> String {
    let names: BTreeSet<&[u8]> = paths.iter().map(|(path, _)| path.as_bytes()).collect();
    let mut text = BUILT_IN.replace("\nvendor/\n", "\n\n");
    for (path, kind) in paths.iter().filter(|(path, _)| path.name() == b"vendor") {
        let beside = |name: &[u8]| path.with_name(name).unwrap();
        let is_kept =
            [b"composer.json" as &[u8], b"Gemfile"].iter().any(|name| names.contains(beside(name).as_bytes()));
        if *kind == Kind::Dir && is_kept {
            let quoted: String = path
                .to_string()
                .chars()
                .flat_map(
                    |c| if c.is_ascii_alphanumeric() || c == '/' || !c.is_ascii() { vec![c] } else { vec!['\\', c] },
                )
                .collect();
            text.push_str(&format!("/{quoted}/\n"));
        }
    }
    text
}

fn agrees(verdict: &Verdict, (pattern, line, source): &(String, u64, String), excludes: &Path) -> bool {
    let ignored = !pattern.is_empty() && !pattern.starts_with('!');
    if verdict.stored == ignored {
        return false;
    }
    if pattern.is_empty() {
        return verdict.rule.is_none();
    }
    if source == excludes.to_str().unwrap() {
        let built_in = BUILT_IN.lines().nth(verdict.line.unwrap_or(0) as usize - 1);
        return verdict.source.as_deref() == Some("built-in") && built_in == verdict.rule.as_deref();
    }
    (verdict.rule.as_deref(), verdict.line, verdict.source.as_deref()) == (Some(pattern), Some(*line), Some(source))
}

#[test]
fn gitignore_means_what_git_means_by_it() {
    let Some(version) = git_version() else {
        eprintln!("skipped: no git, the oracle; install git");
        return;
    };
    // In memory where there is such a place: thousands of files are made and thrown away.
    let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let (mut trees, mut asked, mut ignored, mut brought_back, mut differences) = (0, 0, 0, 0, Vec::new());
    for batch in 0..12 {
        let top = temp.path().join(format!("batch-{batch}"));
        let mut dice = Dice(batch);
        // Trees beside each other in one repository, so that git starts once for all of them; odd batches have rules
        // at the very top, too.
        for tree in 0..250 {
            grow(&mut dice, &top.join(format!("tree-{tree}")), 0);
            trees += 1;
        }
        if batch % 2 == 1 {
            fs::write(top.join(".gitignore"), ignore_file(&mut dice)).unwrap();
        }
        let paths = entries(&top);
        let excludes = temp.path().join(format!("excludes-{batch}"));
        let text = excludes_of(&paths);
        // A name that is not UTF-8 cannot be quoted in that list: those few directories are left out.
        let paths: Vec<_> = paths
            .into_iter()
            .filter(|(path, _)| !path.to_text().contains("\\x") || !path.to_text().contains("vendor"))
            .collect();
        fs::write(&excludes, text).unwrap();
        let answers = ask_git(&top, &excludes, &paths);

        let options = RuleOptions::default();
        let inputs = paths.iter().filter(|(_, kind)| *kind == Kind::File).filter_map(|(path, _)| {
            is_rule_input(path).map(|_| (path.clone(), fs::read(top.join(path.as_path())).unwrap()))
        });
        let vendor_links =
            paths.iter().filter(|(path, kind)| *kind != Kind::File && is_rule_input(path) == Some(false));
        let inputs = inputs.chain(vendor_links.map(|(path, _)| (path.clone(), Vec::new())));
        let rules = Rules::from_files(inputs, &options);
        let dir = Directory::open(&top).unwrap();
        let scan = scan(&dir, &Index::default(), &ScanOptions::new(options.clone(), top.join(".stopover"))).unwrap();
        for (path, kind) in &paths {
            asked += 1;
            let answer = &answers[path];
            let verdict = rules.verdict(path, *kind);
            ignored += usize::from(!verdict.stored);
            brought_back += usize::from(verdict.stored && verdict.rule.is_some());
            if !agrees(&verdict, answer, &excludes) {
                differences.push(format!("batch {batch} {path} {kind:?}: ours {verdict:?}, git {answer:?}"));
            }
            assert_eq!(scan.rows.contains_key(path), verdict.stored, "scan and rules agree on {path}");
            if asked % 17 == 0 {
                assert_eq!(explain(&dir, path, &options), verdict, "explain and rules agree on {path}");
            }
        }
    }
    println!("{trees} trees, {asked} paths, {ignored} ignored, {brought_back} brought back, {version}");
    let some = differences.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} differences, {version}{some}", differences.len());
    assert!(trees >= 3000 && asked > 50_000 && ignored > 10_000 && brought_back > 1000, "the trees say something");
}

/// The rules of some files, by name and content.
fn rules(files: &[(&str, &str)], options: &RuleOptions) -> Rules {
    Rules::from_files(
        files.iter().map(|(name, text)| (RelPath::new(*name).unwrap(), text.as_bytes().to_vec())),
        options,
    )
}

/// Whether the path is stored; a directory's ends in a slash.
fn stores(rules: &Rules, path: &str) -> bool {
    let (path, kind) = path.strip_suffix('/').map_or((path, Kind::File), |path| (path, Kind::Dir));
    rules.verdict(&RelPath::new(path).unwrap(), kind).stored
}

#[test]
fn our_files_win_over_gitignore_at_every_level_and_among_each_other_by_name() {
    /// Ignore files, what is stored under them, what is not.
    type Case = (&'static [(&'static str, &'static str)], &'static [&'static str], &'static [&'static str]);
    let none = RuleOptions::default();
    let cases: [Case; 9] = [
        (&[(".gitignore", "a\n"), (".syncignore", "!a\n")], &["a", "x/a"], &[]),
        (&[(".syncignore", "a\n"), (".s3ignore", "!a\n")], &["a"], &[]),
        (&[(".s3ignore", "a\n"), (".stopoverignore", "!a\n")], &["a"], &[]),
        (&[(".stopoverignore", "a\n"), ("x/.gitignore", "!a\n")], &[], &["a", "x/a"]),
        (&[(".stopoverignore", "!a\n"), ("x/.gitignore", "a\n")], &["a", "x/a"], &[]),
        // Among ours the nearer directory wins, like among git's.
        (&[(".stopoverignore", "a\n"), ("x/.syncignore", "!a\n")], &["x/a"], &["a"]),
        (&[("x/.stopoverignore", "a\n"), (".stopoverignore", "!a\n")], &["a"], &["x/a"]),
        (&[(".stopoverignore", "!*.log\n!.env\n!dist/\n")], &["x/a.log", ".env", "dist/x"], &["build/x", ".env.local"]),
        (&[(".gitignore", "!node_modules/\n")], &["node_modules/", "node_modules/x"], &["node_modules/x.log"]),
    ];
    for (files, stored, ignored) in cases {
        let rules = rules(files, &none);
        assert!(stored.iter().all(|path| stores(&rules, path)), "{files:?} store {stored:?}");
        assert!(!ignored.iter().any(|path| stores(&rules, path)), "{files:?} ignore {ignored:?}");
    }
}

#[test]
fn what_names_an_ignored_directory_reaches_into_it() {
    let none = RuleOptions::default();
    for (line, stored, ignored) in [
        (
            "!node_modules/keep",
            &["node_modules/keep/", "node_modules/keep/x"][..],
            &["node_modules/x", "node_modules/"][..],
        ),
        ("!node_modules/keep", &[], &["lib/node_modules/keep/x", "node_modules/keep/node_modules/x"]),
        ("!**/node_modules/keep", &["lib/node_modules/keep/x"], &["lib/node_modules/x"]),
        ("!node_modules/**/*.json", &["node_modules/a/b/x.json"], &["node_modules/a/b/x.js"]),
        ("!node_modules/**\n*.map", &["node_modules/a/x"], &["node_modules/a/x.map"]),
        ("!*.json", &["x.json"], &["node_modules/x.json"]),
        ("!keep", &["keep"], &["node_modules/keep"]),
        ("!**/keep", &["a/keep"], &["node_modules/keep"]),
        ("secret/\n!secret/keep", &["secret/keep"], &["secret/x"]),
        ("secret/*\n!secret/keep", &["secret/keep", "secret/"], &["secret/x"]),
        ("!node_modules/keep\nnode_modules/keep/x", &["node_modules/keep/y"], &["node_modules/keep/x"]),
    ] {
        let rules = rules(&[(".stopoverignore", line)], &none);
        for path in stored {
            assert!(stores(&rules, path), "{line:?} stores {path}");
        }
        for path in ignored {
            assert!(!stores(&rules, path), "{line:?} ignores {path}");
        }
    }
    let git = rules(&[(".gitignore", "!node_modules/keep\n")], &none);
    assert!(!stores(&git, "node_modules/keep"), "git's rule holds within git's files");
    let inside = rules(&[("node_modules/.stopoverignore", "!*\n")], &none);
    assert!(!stores(&inside, "node_modules/x"), "an ignored directory does not bring itself back");
}

#[test]
fn vendor_is_ignored_only_beside_a_manifest() {
    let none = RuleOptions::default();
    let rules = rules(&[("php/composer.json", ""), ("ruby/Gemfile", "")], &none);
    assert!(!stores(&rules, "php/vendor/x") && !stores(&rules, "ruby/vendor/"));
    assert!(stores(&rules, "go/vendor/x") && stores(&rules, "php/lib/vendor/x") && stores(&rules, "vendor/"));
}

#[test]
fn extra_patterns_stand_at_the_end_of_the_top_stopoverignore() {
    let options =
        RuleOptions { extra: vec!["*.bak".into(), "!.env".into(), "/only/top".into()], ..RuleOptions::default() };
    let rules = rules(&[(".stopoverignore", "!a.bak\n"), ("x/.stopoverignore", "!b.bak\n")], &options);
    assert!(!stores(&rules, "a.bak") && !stores(&rules, "x/c.bak") && !stores(&rules, "only/top"));
    assert!(stores(&rules, "x/b.bak") && stores(&rules, ".env"));
    let verdict = rules.verdict(&RelPath::new("a.bak").unwrap(), Kind::File);
    assert_eq!(verdict.source.as_deref(), Some("STOPOVER_IGNORE"));
}

#[test]
fn git_is_a_switch_and_what_is_in_it_is_whole() {
    let files = [(".gitignore", "build\n*.log\n.*\n!.git\n"), (".stopoverignore", "*.tmp\n.git/big\n")];
    let excluded = rules(&files, &RuleOptions::default());
    assert!(!stores(&excluded, ".git/") && !stores(&excluded, ".git/HEAD") && !stores(&excluded, "sub/.git"));
    let included = rules(&files, &RuleOptions { git: true, ..RuleOptions::default() });
    for path in [".git/", ".git/HEAD", ".git/logs/x.log", ".git/refs/heads/build/x", ".git/x.tmp", "sub/.git/HEAD"] {
        assert!(stores(&included, path), "{path}");
    }
    assert!(!stores(&included, ".git/big") && !stores(&included, "x.tmp"));
    let back = rules(&[(".stopoverignore", "!.git\n")], &RuleOptions::default());
    assert!(stores(&back, ".git/HEAD"));
}

#[test]
fn a_verdict_names_rule_file_and_line() {
    let rules = rules(&[("a/.gitignore", "# tools\n\n*.o  \n")], &RuleOptions::default());
    let verdict = rules.verdict(&RelPath::new("a/b/x.o").unwrap(), Kind::File);
    let expected = (false, Some("*.o"), Some("a/.gitignore"), Some(3));
    assert_eq!((verdict.stored, verdict.rule.as_deref(), verdict.source.as_deref(), verdict.line), expected);
    let verdict = rules.verdict(&RelPath::new("node_modules/x/y").unwrap(), Kind::File);
    assert_eq!((verdict.rule.as_deref(), verdict.source.as_deref()), (Some("node_modules/"), Some("built-in")));
    let verdict = rules.verdict(&RelPath::new("src").unwrap(), Kind::Dir);
    assert_eq!((verdict.stored, verdict.rule), (true, None));
}

#[test]
fn odd_ignore_files_are_tolerated_and_said() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path();
    fs::create_dir_all(top.join(".stopover")).unwrap();
    for directory in ["link", "binary", "wide", "bad", "fifo", "dir/.gitignore"] {
        fs::create_dir_all(top.join(directory)).unwrap();
    }
    fs::write(top.join("target"), "x\n").unwrap();
    symlink("../target", top.join("link/.gitignore")).unwrap();
    fs::write(top.join("binary/.gitignore"), b"\0\x01\xff\nx\n").unwrap();
    fs::write(top.join("wide/.gitignore"), b"\xff\xfex\0\n\0").unwrap();
    fs::write(top.join("bad/.gitignore"), "ok\n[a\nx\\\n").unwrap();
    nix::unistd::mkfifo(&top.join("fifo/.gitignore"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for directory in ["link", "binary", "wide"] {
        fs::write(top.join(directory).join("x"), "").unwrap();
    }
    let dir = Directory::open(top).unwrap();
    let scan = scan(&dir, &Index::default(), &ScanOptions::new(RuleOptions::default(), top.join(".stopover"))).unwrap();
    let stored = |path: &str| scan.rows.contains_key(&RelPath::new(path).unwrap());
    assert!(stored("link/x") && stored("wide/x") && !stored("binary/x"));
    assert_eq!(
        scan.warnings,
        [
            "bad/.gitignore:2: \"[a\" matches nothing: its [ has no end or a class nobody knows",
            "bad/.gitignore:3: \"x\\\" matches nothing: it ends in a backslash",
            "binary/.gitignore is binary: hardly any of its patterns match anything",
            "fifo/.gitignore is not read: it is no regular file",
            "link/.gitignore is not read: it is a symbolic link",
            "wide/.gitignore is UTF-16: its patterns match nothing; save it as UTF-8",
        ]
    );
}

#[test]
fn a_changed_ignore_file_holds_for_names_already_known() {
    let temp = tempfile::tempdir().unwrap();
    let top = temp.path();
    fs::create_dir_all(top.join(".stopover")).unwrap();
    fs::create_dir_all(top.join("a/b")).unwrap();
    fs::write(top.join("a/b/x.tmp"), "").unwrap();
    fs::write(top.join("a/b/y"), "").unwrap();
    let dir = Directory::open(top).unwrap();
    let mut options = ScanOptions::new(RuleOptions::default(), top.join(".stopover"));
    let mut index = Index::default();
    let mut stored = |options: &ScanOptions| {
        let scan = scan(&dir, &index, options).unwrap();
        index = scan.index;
        scan.rows.contains_key(&RelPath::new("a/b/x.tmp").unwrap())
    };
    assert!(stored(&options) && stored(&options));
    fs::write(top.join("a/.gitignore"), "*.tmp\n").unwrap();
    assert!(!stored(&options));
    fs::write(top.join(".syncignore"), "!*.tmp\n").unwrap();
    assert!(stored(&options));
    options.rules.extra = vec!["x.*".into()];
    assert!(!stored(&options));
    options.rules.extra.clear();
    assert!(stored(&options));
}
