//! A copy of the sources in which each rule can be switched off, built once, and its tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Test, parts, root, rules};

/// The longest that a test may take, whatever is off.
const PATIENCE: Duration = Duration::from_secs(600);
/// What is not copied, at the top.
const LEFT: [&str; 3] = ["target", ".git", "fuzz"];

/// The copy, built.
pub(super) struct Copied {
    tree: PathBuf,
    /// Names the rule that is off.
    off: PathBuf,
    binaries: BTreeMap<String, PathBuf>,
}

/// What became of a test.
pub(super) enum Ran {
    Passed,
    /// As it should, after so many seconds.
    Failed(f64),
    /// It did not end.
    Hung,
    /// There is no such test.
    None,
}

impl Copied {
    /// Copies the sources, puts a switch at the place of each rule, and builds the tests of these targets.
    pub(super) fn build(targets: &BTreeSet<&str>) -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rules");
        let (tree, off, target) = (place.join("tree"), place.join("off"), root().join("target/rules"));
        fs::create_dir_all(&tree).unwrap();
        fs::write(&off, "").unwrap();
        write_all(&tree, &switched(&off));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "false");
        cargo.args(["test", "--offline", "--no-run", "--message-format=json-render-diagnostics"]);
        for target in targets {
            if *target == "lib" {
                cargo.arg("--lib")
            } else {
                cargo.args(["--test", target])
            };
        }
        let built = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success(), "with its switches stopover cannot be built");
        let mut binaries = BTreeMap::new();
        for line in built.stdout.split(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<serde_json::Value>(line) else { continue };
            let kind = line["target"]["kind"][0].as_str().unwrap_or_default();
            if let Some(binary) = line["executable"].as_str().filter(|_| matches!(kind, "lib" | "test")) {
                let name = if kind == "lib" { "lib" } else { line["target"]["name"].as_str().unwrap() };
                binaries.insert(name.to_owned(), PathBuf::from(binary));
            }
        }
        Self { tree, off, binaries }
    }

    /// Runs one test, without one rule, or with all of them.
    pub(super) fn run(&self, (target, name): Test, off: Option<&str>) -> Ran {
        fs::write(&self.off, off.unwrap_or_default()).unwrap();
        let begun = Instant::now();
        let mut test = Command::new(&self.binaries[target]);
        test.current_dir(&self.tree).args(["--exact", name]).stdin(Stdio::null());
        let mut test = test.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = test.stdout.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stdout.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        while test.try_wait().unwrap().is_none() {
            if begun.elapsed() > PATIENCE {
                test.kill().unwrap();
                test.wait().unwrap();
                return Ran::Hung;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = said.join().unwrap();
        fs::write(&self.off, "").unwrap();
        if said.contains("test result: FAILED. 0 passed; 1 failed") {
            Ran::Failed(begun.elapsed().as_secs_f64())
        } else if said.contains("test result: ok. 1 passed") {
            Ran::Passed
        } else {
            Ran::None
        }
    }
}

/// The sources with all switches, which ask the file `off`.
pub(super) fn switched(off: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    read_all(root(), Path::new(""), &mut files);
    put_switches(&mut files, off);
    files
}

fn read_all(root: &Path, below: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if LEFT.iter().any(|left| path == Path::new(left)) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            read_all(root, &path, files);
        } else if let Ok(bytes) = fs::read(root.join(&path)) {
            files.insert(path, bytes);
        }
    }
}

/// Puts the switches in, and into the library what they ask.
fn put_switches(files: &mut BTreeMap<PathBuf, Vec<u8>>, off: &Path) {
    let mut by_file: BTreeMap<&str, Vec<(usize, usize, String)>> = BTreeMap::new();
    for rule in rules() {
        for (file, at, off) in rule.switches {
            let source = std::str::from_utf8(&files[Path::new(file)]).unwrap();
            let (before, text, after) = parts(at);
            let begin = source.find(&format!("{before}{text}{after}")).expect("the quick test found it") + before.len();
            let switch = format!("(if crate::rule_is_off(\"{}\") {{ {off} }} else {{ {text} }})", rule.says);
            by_file.entry(file).or_default().push((begin, begin + text.len(), switch));
        }
    }
    for (file, mut switches) in by_file {
        switches.sort_by_key(|(begin, ..)| std::cmp::Reverse(*begin));
        assert!(switches.windows(2).all(|two| two[1].1 <= two[0].0), "two rules of {file} stand in one another");
        let source = files.get_mut(Path::new(file)).unwrap();
        for (begin, end, switch) in switches {
            source.splice(begin..end, switch.into_bytes());
        }
    }
    let asks = format!(
        "\n/// Whether a rule is switched off.\n#[must_use]\npub(crate) fn rule_is_off(rule: &str) -> bool {{\n    \
         static OFF: std::sync::LazyLock<String> =\n        \
         std::sync::LazyLock::new(|| std::fs::read_to_string({off:?}).unwrap_or_default());\n    *OFF == rule\n}}\n"
    );
    let library = files.get_mut(Path::new("src/lib.rs")).unwrap();
    library.extend(asks.into_bytes());
    // What is off leaves much unused.
    library.splice(..0, *b"#![allow(warnings)]\n");
}

/// Makes the copy what `files` say. What did not change is not touched: it is not built again.
fn write_all(tree: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    let mut there = BTreeMap::new();
    read_all(tree, Path::new(""), &mut there);
    for path in there.keys().filter(|path| !files.contains_key(*path)) {
        fs::remove_file(tree.join(path)).unwrap();
    }
    for (path, bytes) in files.iter().filter(|(path, bytes)| there.get(*path) != Some(bytes)) {
        fs::create_dir_all(tree.join(path).parent().unwrap()).unwrap();
        fs::write(tree.join(path), bytes).unwrap();
        let mode = fs::metadata(root().join(path)).unwrap().permissions();
        fs::set_permissions(tree.join(path), mode).unwrap();
    }
}
