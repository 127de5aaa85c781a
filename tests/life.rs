//! The life around an app: restore, install, checkpoints, the stop and its budget, the last commit, the exit code.
//!
//! The supervisor is the real one; the children that would talk to S3 are stand-ins that do what the test says and
//! write down when they did it. `shutdown.rs` has the same with real children and a real server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

#[allow(unreachable_pub, reason = "shared by test binaries")]
mod support {
    pub mod stage;
}

use std::{
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use stopover::{
    config::{self, Call, Handover, Need, Sources},
    supervise::{self, Surroundings, Wait},
    sys,
};
use support::stage::{self, Running, skip, wait_until};
use tempfile::TempDir;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    if let Some(at) = words.iter().position(|word| word == "--handover") {
        stand_in(&words[1], &words[at + 1]);
    }
    if stage::part().as_deref() == Some("supervisor") {
        return supervisor(words);
    }
    stage::run(tests![
        a_life_restores_runs_and_commits_in_this_order,
        every_ending_of_the_app_is_followed_by_a_commit,
        a_failed_restore_starts_nothing_and_commits_nothing,
        a_failed_restore_may_start_the_app_but_is_never_committed,
        a_restore_that_had_to_refuse_keys_is_a_restore,
        a_term_during_the_restore_cancels_it,
        a_restore_that_does_not_hear_is_killed,
        a_term_during_the_install_cancels_it,
        a_failed_install_starts_nothing_but_the_first_checkpoint_was_made,
        the_start_command_comes_from_the_install,
        a_commit_that_is_not_whole_makes_success_82_and_hides_no_failure,
        a_missing_command_is_127_and_is_committed_too,
        the_early_commit_begins_beside_the_app_and_hears_of_its_end,
        an_early_commit_that_fails_is_followed_by_another,
        an_early_commit_that_cannot_be_started_is_followed_by_another,
        a_last_commit_is_started_as_soon_as_there_is_room_for_a_process,
        a_last_commit_that_cannot_be_started_does_not_hold_up_the_end,
        a_restore_that_cannot_be_started_may_start_the_app,
        a_command_that_nobody_names_ends_the_life,
        a_term_while_the_apps_program_is_loaded_starts_the_budget,
        a_stop_signal_of_the_users_own_cancels_the_start_too,
        what_outlives_a_cancelled_start_is_killed_within_the_stop_timeout,
        a_pipe_in_the_way_of_the_summary_does_not_hold_up_the_end,
        who_asks_for_a_commit_while_stopping_does_not_wait_for_his_own_end,
        an_app_that_overstays_is_killed_in_time_for_the_commit,
        a_commit_that_hangs_is_killed_at_the_deadline,
        a_term_during_the_last_commit_gives_it_a_deadline,
        a_term_cancels_a_running_checkpoint,
        checkpoints_repeat_one_at_a_time,
        commands_stand_around_a_checkpoint_and_a_failing_first_one_skips_it,
        whoever_asks_gets_exit_code_and_receipt,
        an_idle_container_has_head_read_where_no_checkpoint_does,
        a_stop_does_not_wait_for_a_look_at_head,
        who_asks_for_durable_is_answered_at_that_point,
        those_who_ask_during_a_commit_share_the_next_one,
        a_request_that_a_stop_overtakes_is_answered_by_the_last_commit,
        the_socket_comes_back_after_its_directory_was_removed,
        a_last_commit_that_failed_or_was_killed_is_tried_again_once,
        clients_that_take_all_descriptors_cost_neither_rest_nor_the_last_commit,
        descriptors_that_the_caller_left_open_are_no_trouble,
        read_only_commits_nothing,
        a_long_receipt_is_dropped_and_half_a_receipt_does_no_harm,
        the_termination_log_holds_whole_json_in_4096_bytes,
        a_second_interrupt_abandons_the_last_commit,
        a_full_stderr_holds_nothing_up,
        a_grandchild_with_the_pipes_open_holds_nothing_up,
        keys_reach_sync_children_by_pipe_only,
        hidden_credentials_are_not_in_the_apps_environment,
        the_phase_says_what_goes_on,
    ])
}

/// The supervisor, in this process.
fn supervisor(words: Vec<String>) -> ExitCode {
    let sources = Sources {
        environment: env::vars_os().collect(),
        working_directory: env::current_dir().expect("directory"),
        ..Sources::default()
    };
    let loaded = config::load(&sources, &Need::IfSet, Call::default()).expect("a configuration");
    let around = Surroundings {
        program: env::current_exe().expect("own path"),
        termination_log: env::var_os("STAGE_TERMINATION_LOG").map_or_else(|| "/nowhere".into(), PathBuf::from),
        look: env::var("STAGE_LOOK_EVERY")
            .map_or(Duration::from_secs(3600), |text| Duration::from_millis(text.parse().expect("milliseconds"))),
    };
    let command = words.into_iter().skip(1).map(Into::into).collect();
    ExitCode::from(supervise::run_in(&loaded.config, command, Vec::new(), &around))
}

// ---- the stand-ins

/// Writes a line of the story, in one piece.
fn note(line: &str) {
    let path = env::var_os("STAGE_NOTES").expect("notes");
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("notes");
    file.write_all(format!("{line}\n").as_bytes()).expect("notes");
}

/// Does the steps that the test wrote for this child, and ends.
fn stand_in(name: &str, words: &str) -> ! {
    let handover = Handover::from_words(words).expect("words");
    let role = match (name, handover.control.is_some()) {
        ("commit", true) => "last",
        ("commit", false) if handover.look => "look",
        ("commit", false) => "checkpoint",
        _ => name,
    };
    let keys = sys::child::prepare(handover.credentials).expect("prepares");
    let file = |fd: Option<i32>| fs::File::from(sys::child::inherited(fd.expect("handed over")).expect("open"));
    let (mut status, mut receipt) = (file(handover.status), file(handover.receipt));
    let mut control = handover.control.map(|fd| file(Some(fd)));
    let alive = if handover.app_alive { " beside the app" } else { "" };
    note(&format!("{role} begins{alive}"));
    let steps = env::var(format!("STAGE_{}", role.to_uppercase())).unwrap_or_else(|_| default_steps(role).to_owned());
    for step in steps.split(';') {
        let (verb, rest) = step.split_once(':').unwrap_or((step, ""));
        match verb {
            "say" => note(rest),
            "event" => status.write_all(rest.as_bytes()).expect("status"),
            "receipt" => receipt.write_all(rest.replace("\\n", "\n").replace("\\0", "\0").as_bytes()).expect("receipt"),
            "flood" => receipt.write_all(&vec![b' '; 3 << 20]).expect("receipt"),
            "sleep" => std::thread::sleep(Duration::from_millis(rest.parse().expect("number"))),
            "until" => wait_until(rest, || Path::new(rest).exists()),
            "hang" => {
                sys::entry::block_all_signals();
                std::thread::sleep(Duration::from_secs(100));
            }
            "once" if !Path::new(rest).exists() => {
                fs::write(rest, "").expect("mark");
                note(&format!("{role} ends"));
                std::process::exit(1);
            }
            "once" => {}
            "die" if rest.is_empty() || !Path::new(rest).exists() => {
                fs::write(Path::new(rest), "").ok();
                sys::signals::send(sys::process::id(), libc::SIGKILL).expect("dies");
            }
            "die" => {}
            "listen" => listen(role, control.as_mut().expect("control")),
            "keys" => {
                let names: Vec<_> = keys.iter().map(|(name, value)| format!("{name:?}={value:?}")).collect();
                let leaked = env::vars().any(|(_, value)| value.contains("secret-"));
                let score = fs::read_to_string("/proc/self/oom_score_adj").expect("score");
                note(&format!("keys {} leaked {leaked} score {}", names.join(" "), score.trim()));
            }
            "orphan" => {
                // A process that left the group and does not hear.
                let script = "setsid sh -c 'trap \"\" TERM; sleep 60' </dev/null >/dev/null 2>&1 &";
                Command::new("sh").args(["-c", script]).status().expect("starts");
            }
            "leave" => {
                // A grandchild that keeps every pipe open.
                let mut long = Command::new("sleep");
                long.arg("60").stdout(Stdio::from(receipt.try_clone().expect("dup")));
                long.stderr(Stdio::from(status.try_clone().expect("dup")));
                #[allow(clippy::zombie_processes, reason = "it outlives this process on purpose")]
                long.spawn().expect("starts");
            }
            "exit" => {
                note(&format!("{role} ends"));
                std::process::exit(rest.parse().expect("number"));
            }
            other => panic!("no step {other}"),
        }
    }
    note(&format!("{role} ends"));
    std::process::exit(0);
}

fn default_steps(role: &str) -> &'static str {
    match role {
        "pull" => "receipt:0000000001-0123456789ab 7 8\\n{\"files\":3};exit:0",
        "install" => "receipt:[]\\0\\0;exit:0",
        "checkpoint" => "receipt:{\"checkpoint\":true};exit:0",
        "look" => "exit:0",
        _ => "listen;event:d;receipt:{\"durable\":true};exit:0",
    }
}

/// Waits until no process of the app lives; one that began after the app's end need not wait.
fn listen(role: &str, control: &mut fs::File) {
    let alive = env::args().any(|word| word.contains("app-alive"));
    let mut message = [0; 9];
    while alive && control.read_exact(&mut message[..1]).is_ok() {
        control.read_exact(&mut message[1..]).expect("whole");
        assert_eq!(message[0], b'D');
        note(&format!("{role} has a deadline"));
    }
    note(&format!("{role} hears that the app is gone"));
}

// ---- a life

struct Life {
    place: TempDir,
    command: Command,
}

impl Life {
    /// An app in a workspace, without an install and without checkpoints.
    fn of(script: &str) -> Self {
        let place = tempfile::tempdir().expect("directory");
        let mut command = Command::new(env::current_exe().expect("own path"));
        if !script.is_empty() {
            command.args(["sh", "-c", script]);
        }
        command
            .env("STAGE_ACTOR", "supervisor")
            .env("STAGE_NOTES", place.path().join("notes"))
            .env("PLACE", place.path())
            .env("STOPOVER_WORKSPACE", "s3://bucket/prefix/ann/site")
            .env("STOPOVER_DIR", place.path().join("workspace"))
            .env("STOPOVER_SUMMARY", place.path().join("summary"))
            .env("STOPOVER_INSTALL", "none")
            .env("STOPOVER_CHECKPOINT", "off")
            .stderr(fs::File::create(place.path().join("log")).expect("log"));
        fs::create_dir(place.path().join("workspace")).expect("workspace");
        Self { place, command }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same, started by another program.
    fn by(mut self, program: &str, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(words).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            command.env(name, value.expect("set"));
        }
        command.stderr(fs::File::create(self.path("log")).expect("log"));
        self.command = command;
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn begin(self) -> Living {
        Living { running: Running::start(self.command), place: self.place, begun: Instant::now() }
    }

    fn end(self) -> (i32, Living) {
        let mut living = self.begin();
        let code = living.end();
        (code, living)
    }
}

struct Living {
    running: Running,
    place: TempDir,
    begun: Instant,
}

impl Living {
    fn end(&mut self) -> i32 {
        self.running.close();
        self.running.end().code().unwrap_or_else(|| panic!("killed; log: {}", self.log()))
    }

    fn notes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.place.path().join("notes")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn has(&self, note: &str) -> bool {
        self.notes().iter().any(|line| line == note)
    }

    fn until(&self, note: &str) -> &Self {
        wait_until(&format!("{note}; notes {:?}; log {}", self.notes(), self.log()), || self.has(note));
        self
    }

    fn term(&self) -> &Self {
        self.running.signal(libc::SIGTERM);
        self
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    fn summary(&self) -> Value {
        serde_json::from_slice(&fs::read(self.place.path().join("summary")).expect("summary")).expect("json")
    }

    fn state(&self) -> PathBuf {
        self.place.path().join("workspace/.stopover")
    }

    fn phase(&self) -> Value {
        serde_json::from_slice(&fs::read(self.state().join("phase")).expect("phase")).expect("json")
    }
}

const SAY: &str = "echo app says hello >> $STAGE_NOTES;";
/// An app that takes TERM, says so and ends well.
const GENTLE: &str =
    "trap 'echo app ends >> $STAGE_NOTES; exit 0' TERM; echo app runs >> $STAGE_NOTES; while :; do sleep 0.02; done";

// ---- the tests

fn a_life_restores_runs_and_commits_in_this_order() {
    let (code, life) = Life::of(&format!("{SAY} pwd")).end();
    assert_eq!(code, 0, "{}", life.log());
    let expected =
        ["pull begins", "pull ends", "app says hello", "last begins", "last hears that the app is gone", "last ends"];
    assert_eq!(life.notes(), expected);
    assert_eq!(life.running.seen, [life.place.path().join("workspace").to_str().expect("utf-8")]);
    let summary = life.summary();
    assert_eq!(summary["exit_code"], 0);
    assert_eq!(summary["reason"], "exited");
    assert_eq!(summary["restore"]["files"], 3);
    assert_eq!(summary["commit"]["durable"], true);
    assert_eq!(summary["workspace"], "s3://bucket/prefix/ann/site");
    assert!(summary["app"]["command"].as_str().is_some_and(|command| command.starts_with("sh ")), "{summary}");
}

fn every_ending_of_the_app_is_followed_by_a_commit() {
    for (script, expected) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 143", 143),
        ("kill -KILL $$", 137),
        ("kill -40 $$", 168),
        ("exit 255", 255),
    ] {
        let (code, life) = Life::of(script).end();
        assert_eq!(code, expected, "{script}");
        assert!(life.has("last ends"), "{script}");
    }
}

fn a_failed_restore_starts_nothing_and_commits_nothing() {
    for steps in ["exit:1", "exit:4", "receipt:half;exit:7"] {
        let (code, life) = Life::of(SAY).set("STAGE_PULL", steps).set("STOPOVER_CHECKPOINT", "1h").end();
        assert_eq!(code, 80);
        assert!(!life.has("app says hello") && !life.has("last begins") && !life.has("checkpoint begins"));
        assert_eq!(life.summary()["reason"], "restore-failed");
        assert_eq!(life.summary()["commit"], Value::Null);
        assert_eq!(life.phase()["state"], "failed");
    }
    assert_eq!(Life::of(SAY).set("STAGE_PULL", "exit:2").end().0, 2);
}

fn a_failed_restore_may_start_the_app_but_is_never_committed() {
    let life = Life::of(SAY).set("STAGE_PULL", "exit:1").set("STOPOVER_ON_RESTORE_FAILURE", "run");
    let (code, life) = life.set("STOPOVER_CHECKPOINT", "10ms").end();
    assert_eq!(code, 0);
    assert!(life.has("app says hello") && !life.has("last begins") && !life.has("checkpoint begins"));
}

fn a_restore_that_had_to_refuse_keys_is_a_restore() {
    let (code, life) = Life::of(SAY).set("STAGE_PULL", "receipt:- 7 8\\n{\"refused\":[1]};exit:3").end();
    assert_eq!(code, 0);
    assert!(life.has("app says hello") && life.has("last ends"));
    assert_eq!(life.summary()["restore"]["refused"][0], 1);
}

fn a_term_during_the_restore_cancels_it() {
    for (signal, expected) in [(libc::SIGTERM, 143), (libc::SIGINT, 130), (libc::SIGQUIT, 131)] {
        let mut life = Life::of(SAY).set("STAGE_PULL", "say:pulling;sleep:60000").begin();
        life.until("pulling").running.signal(signal);
        assert_eq!(life.end(), expected);
        assert_eq!(life.notes(), ["pull begins", "pulling"]);
        assert_eq!(life.summary()["reason"], "cancelled");
    }
}

fn a_restore_that_does_not_hear_is_killed() {
    let life = Life::of(SAY).set("STAGE_PULL", "say:pulling;hang").set("STOPOVER_STOP_TIMEOUT", "2s");
    let mut life = life.begin();
    life.until("pulling").term();
    assert_eq!(life.end(), 143);
    assert!(!life.has("app says hello"));
}

fn a_term_during_the_install_cancels_it() {
    let life = Life::of(SAY).set("STOPOVER_INSTALL", "auto").set("STAGE_INSTALL", "say:installing;sleep:60000");
    let mut life = life.begin();
    life.until("installing").term();
    assert_eq!(life.end(), 143);
    assert!(!life.has("app says hello") && !life.has("last begins"));
}

fn a_failed_install_starts_nothing_but_the_first_checkpoint_was_made() {
    let life = Life::of(SAY).set("STOPOVER_INSTALL", "auto").set("STAGE_INSTALL", "exit:1");
    let (code, life) = life.set("STOPOVER_CHECKPOINT", "1h").set("STAGE_CHECKPOINT", "sleep:200;exit:0").end();
    assert_eq!(code, 81);
    assert!(life.has("checkpoint ends") && !life.has("app says hello") && !life.has("last begins"));
    assert_eq!(life.summary()["reason"], "install-failed");
}

fn the_start_command_comes_from_the_install() {
    let steps = "receipt:[{\"tool\":\"npm\"}]\\0WORD=hello\\0\\0sh\\0-c\\0echo $WORD >> $STAGE_NOTES\\0;exit:0";
    let (code, life) = Life::of("").set("STOPOVER_INSTALL", "auto").set("STAGE_INSTALL", steps).end();
    assert_eq!(code, 0, "{}", life.log());
    assert!(life.has("hello"));
    assert_eq!(life.summary()["install"][0]["tool"], "npm");
}

fn a_commit_that_is_not_whole_makes_success_82_and_hides_no_failure() {
    for (steps, script, expected) in [
        ("exit:3", "exit 0", 82),
        ("exit:1", "exit 0", 82),
        ("exit:4", "exit 0", 82),
        ("exit:82", "exit 0", 82),
        ("exit:1", "exit 5", 5),
        ("exit:3", "kill -KILL $$", 137),
        ("exit:0", "exit 0", 0),
    ] {
        assert_eq!(Life::of(script).set("STAGE_LAST", steps).end().0, expected, "{steps} after {script}");
    }
    // By the very signal that the stop forwarded: it ended as it was asked to.
    let life = Life::of("echo app runs >> $STAGE_NOTES; exec sleep 60").set("STAGE_LAST", "listen;exit:3");
    let mut life = life.begin();
    life.until("app runs").term();
    assert_eq!(life.end(), 82);
    let mut life = Life::of("echo app runs >> $STAGE_NOTES; exec sleep 60").begin();
    life.until("app runs").term();
    assert_eq!(life.end(), 143);
}

fn a_missing_command_is_127_and_is_committed_too() {
    let mut life = Life::of("");
    life.command.arg("no-such-command");
    let (code, life) = life.end();
    assert_eq!(code, 127);
    assert!(life.has("last ends"));
    assert_eq!(life.summary()["reason"], "not-started");
}

fn the_early_commit_begins_beside_the_app_and_hears_of_its_end() {
    let app =
        "trap 'while ! grep -q beside $STAGE_NOTES; do sleep 0.02; done; echo app ends >> $STAGE_NOTES; exit 0' TERM;
        echo app runs >> $STAGE_NOTES; while :; do sleep 0.02; done";
    let mut life = Life::of(app).begin();
    life.until("app runs").term();
    assert_eq!(life.end(), 0, "{}", life.log());
    let notes = life.notes();
    let at = |note: &str| notes.iter().position(|line| line == note).unwrap_or_else(|| panic!("{note}: {notes:?}"));
    assert!(at("last begins beside the app") < at("app ends"));
    assert!(at("app ends") < at("last hears that the app is gone"));
    assert!(life.has("last has a deadline"));
    assert_eq!(notes.iter().filter(|line| line.starts_with("last begins")).count(), 1, "one process");
}

fn an_early_commit_that_fails_is_followed_by_another() {
    let app = "trap 'while ! grep -q \"last ends\" $STAGE_NOTES; do sleep 0.02; done; exit 0' TERM;
        echo app runs >> $STAGE_NOTES; while :; do sleep 0.02; done";
    let life = Life::of(app);
    let mark = life.path("mark");
    // The first one fails, the second finds the mark of the first.
    let steps = format!("once:{};listen;receipt:{{\"durable\":true}};exit:0", mark.display());
    let mut life = life.set("STAGE_LAST", &steps).begin();
    life.until("app runs").term();
    assert_eq!(life.end(), 0, "{}", life.log());
    assert!(life.has("last begins beside the app") && life.has("last begins"), "{:?}", life.notes());
    assert_eq!(life.summary()["commit"]["durable"], true);
}

/// The life under strace, with the given filters. What was started is stopover, strace stands beside it.
fn traced(life: Life, filters: &[&str]) -> Option<Life> {
    if !stage::have("strace") {
        skip("strace", "apt-get install strace");
        return None;
    }
    Some(life.by("strace", &[&["-D", "-qq", "-o", "/dev/null"], filters].concat()))
}

/// The life on a machine that has no room for these of its processes: 1 is the pull, 2 the app, 3 the last commit.
fn without_room_for(which: &str, life: Life) -> Option<Life> {
    traced(life, &["-e", &format!("inject=clone:error=EAGAIN:when={which}")])
}

fn an_early_commit_that_cannot_be_started_is_followed_by_another() {
    let Some(life) = without_room_for("3", Life::of(GENTLE)) else { return };
    let mut life = life.begin();
    life.until("app runs").term();
    assert_eq!(life.end(), 0, "{}", life.log());
    assert!(life.log().contains("cannot be started"), "{}", life.log());
    assert!(life.has("last ends"), "{:?}", life.notes());
}

fn a_last_commit_is_started_as_soon_as_there_is_room_for_a_process() {
    let Some(life) = without_room_for("3..5", Life::of(SAY)) else { return };
    let (code, life) = life.end();
    assert_eq!(code, 0, "{}", life.log());
    assert!(life.has("last ends"), "{:?}", life.notes());
}

fn a_last_commit_that_cannot_be_started_does_not_hold_up_the_end() {
    let Some(life) = without_room_for("3+", Life::of(SAY)) else { return };
    let (code, life) = life.end();
    assert_eq!(code, 82, "{}", life.log());
    assert!(life.log().contains("NOT stored"), "{}", life.log());
}

fn a_restore_that_cannot_be_started_may_start_the_app() {
    let life = Life::of(SAY).set("STOPOVER_ON_RESTORE_FAILURE", "run");
    let Some(life) = without_room_for("1", life) else { return };
    let (code, life) = life.end();
    assert_eq!(code, 0, "{}", life.log());
    assert!(life.has("app says hello") && !life.has("last begins"));
}

fn a_command_that_nobody_names_ends_the_life() {
    let (code, life) = Life::of("").set("STOPOVER_INSTALL", "auto").end();
    assert_eq!(code, 81, "{}", life.log());
    assert!(life.log().contains("no command was given"), "{}", life.log());
}

fn a_term_while_the_apps_program_is_loaded_starts_the_budget() {
    let mut life = Life::of("").set("STOPOVER_STOP_TIMEOUT", "10s");
    let app = life.path("app");
    fs::copy("/bin/true", &app).expect("copies");
    life.command.arg(&app);
    let filters = ["-f", "-P", app.to_str().expect("utf-8"), "-e", "inject=execve:delay_enter=30000000"];
    let Some(life) = traced(life, &filters) else { return };
    let mut life = life.begin();
    wait_until("the app is forked", || life.log().contains("running "));
    life.term();
    let told = Instant::now();
    // strace itself ends with the delay.
    wait_until("it is over", || life.log().contains("; exit "));
    // The budget ends it, not the program that is loaded at last.
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    assert_eq!(life.end(), 137, "{}", life.log());
    // Traced, and beside others, it may not get further than that.
    assert!(life.has("last has a deadline"), "{:?}", life.notes());
    assert_eq!(life.summary()["reason"], "killed-at-deadline");
}

/// It was over within the stop timeout, but for what a busy machine adds. Without one it would not end at all.
fn in_time(told: Instant, stop_timeout: u64) {
    assert!(told.elapsed() < 2 * Duration::from_secs(stop_timeout), "{:?}", told.elapsed());
}

fn a_stop_signal_of_the_users_own_cancels_the_start_too() {
    let life = Life::of(SAY).set("STAGE_PULL", "say:pulling;sleep:60000").set("STOPOVER_STOP_SIGNALS", "USR1");
    let mut life = life.begin();
    life.until("pulling").running.signal(libc::SIGUSR1);
    assert_eq!(life.end(), 128 + libc::SIGUSR1);
    assert!(!life.has("app says hello"));
}

fn what_outlives_a_cancelled_start_is_killed_within_the_stop_timeout() {
    let life = Life::of(SAY).set("STOPOVER_STOP_TIMEOUT", "2s").set("STOPOVER_GRACE", "60s");
    let life = life.set("STOPOVER_INSTALL", "auto").set("STAGE_INSTALL", "orphan;say:installing;sleep:60000");
    let mut life = life.begin();
    life.until("installing").term();
    let told = Instant::now();
    assert_eq!(life.end(), 143, "{}", life.log());
    in_time(told, 2);
}

fn a_pipe_in_the_way_of_the_summary_does_not_hold_up_the_end() {
    for name in ["summary", "summary.new"] {
        let life = Life::of("exit 5");
        nix::unistd::mkfifo(&life.path(name), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let (code, life) = life.end();
        assert_eq!(code, 5, "{name}: {}", life.log());
    }
}

fn who_asks_for_a_commit_while_stopping_does_not_wait_for_his_own_end() {
    let app = "trap 'while [ ! -e $PLACE/answered ]; do sleep 0.02; done; exit 0' TERM;
        echo app runs >> $STAGE_NOTES; while :; do sleep 0.02; done";
    let mut life = Life::of(app).begin();
    life.until("app runs").term();
    life.until("last begins beside the app");
    let answer = supervise::request(&life.state(), Wait::All).expect("asks").expect("a supervisor");
    assert_eq!(answer.code, 1);
    fs::write(life.place.path().join("answered"), "").expect("writes");
    assert_eq!(life.end(), 0);
}

fn an_app_that_overstays_is_killed_in_time_for_the_commit() {
    let app = "trap '' TERM; echo app runs >> $STAGE_NOTES; while :; do sleep 0.05; done";
    let mut life = Life::of(app).set("STOPOVER_STOP_TIMEOUT", "3s").begin();
    life.until("app runs").term();
    let told = Instant::now();
    assert_eq!(life.end(), 137);
    in_time(told, 3);
    assert!(life.has("last ends"));
    assert_eq!(life.summary()["reason"], "killed-at-deadline");
}

fn a_commit_that_hangs_is_killed_at_the_deadline() {
    let life = Life::of(GENTLE).set("STAGE_LAST", "receipt:{\"half\":1};hang").set("STOPOVER_STOP_TIMEOUT", "3s");
    let mut life = life.begin();
    life.until("app runs").term();
    let told = Instant::now();
    assert_eq!(life.end(), 82);
    in_time(told, 3);
    assert_eq!(life.phase()["state"], "failed");
}

fn a_term_during_the_last_commit_gives_it_a_deadline() {
    let life = Life::of("exit 0").set("STAGE_LAST", "say:storing;hang").set("STOPOVER_STOP_TIMEOUT", "2s");
    let mut life = life.begin();
    life.until("storing");
    std::thread::sleep(Duration::from_millis(300));
    assert!(life.begun.elapsed() > Duration::from_millis(300));
    let told = Instant::now();
    life.term();
    assert_eq!(life.end(), 82);
    in_time(told, 2);
}

fn a_term_cancels_a_running_checkpoint() {
    let life = Life::of(GENTLE).set("STOPOVER_CHECKPOINT", "1h").set("STAGE_CHECKPOINT", "say:checking;sleep:60000");
    let mut life = life.begin();
    life.until("checking").until("app runs").term();
    assert_eq!(life.end(), 0, "{}", life.log());
    assert!(!life.has("checkpoint ends") && life.has("last ends"));
}

fn checkpoints_repeat_one_at_a_time() {
    let life = Life::of(GENTLE).set("STOPOVER_CHECKPOINT", "50ms").set("STAGE_CHECKPOINT", "sleep:100;exit:0");
    let mut life = life.begin();
    wait_until("three checkpoints", || life.notes().iter().filter(|line| *line == "checkpoint ends").count() >= 3);
    life.term();
    assert_eq!(life.end(), 0);
    let mut open = 0;
    for line in life.notes() {
        open += i32::from(line.starts_with("checkpoint begins")) - i32::from(line == "checkpoint ends");
        assert!((0..=1).contains(&open), "two at once: {:?}", life.notes());
        if line.starts_with("last begins") {
            open = 0;
        }
    }
}

fn commands_stand_around_a_checkpoint_and_a_failing_first_one_skips_it() {
    let life = Life::of(GENTLE).set("STOPOVER_CHECKPOINT", "50ms");
    let life = life.set("STOPOVER_BEFORE_CHECKPOINT", "sh -c 'echo before >> $STAGE_NOTES; test -e $PLACE/allowed'");
    let mut life = life.set("STOPOVER_AFTER_CHECKPOINT", "sh -c 'echo after >> $STAGE_NOTES'").begin();
    life.until("before");
    wait_until("the skip is said", || life.log().contains("the checkpoint is skipped"));
    assert!(!life.has("checkpoint begins beside the app"));
    fs::write(life.place.path().join("allowed"), "").expect("writes");
    life.until("checkpoint begins beside the app").until("after");
    life.term();
    assert_eq!(life.end(), 0);
}

fn whoever_asks_gets_exit_code_and_receipt() {
    let long = "d".repeat(150);
    let life = Life::of(GENTLE);
    let directory = life.path(&long);
    fs::create_dir(&directory).expect("directory");
    // A path longer than a socket's address.
    let life = life.set("STOPOVER_DIR", directory.to_str().expect("utf-8"));
    let mut life = life.set("STAGE_CHECKPOINT", "receipt:{\"a\":1}\\n;exit:3").begin();
    life.until("app runs");
    let answer = supervise::request(&directory.join(".stopover"), Wait::All).expect("asks").expect("a supervisor");
    assert_eq!((answer.code, answer.receipt.as_slice()), (3, &b"{\"a\":1}"[..]));
    life.term();
    assert_eq!(life.end(), 0);
    assert_eq!(supervise::request(&directory.join(".stopover"), Wait::All).expect("asks"), None, "nobody listens now");
}

fn an_idle_container_has_head_read_where_no_checkpoint_does() {
    // No checkpoint, and none soon.
    for checkpoint in ["off", "2h"] {
        let life = Life::of(GENTLE).set("STOPOVER_CHECKPOINT", checkpoint).set("STAGE_LOOK_EVERY", "60");
        let mut life = life.set("STAGE_LOOK", "exit:82").begin();
        life.until("look begins beside the app");
        wait_until("it goes on", || life.notes().iter().filter(|line| line.starts_with("look begins")).count() > 2);
        life.term();
        assert_eq!(life.end(), 0, "{}", life.log());
        assert!(
            life.log().contains("the workspace was deleted") && !life.log().contains("look at the workspace failed")
        );
        assert!(life.has("last begins beside the app") || life.has("last begins"));
    }
    // Who reads it anyway, or never commits, or has none.
    for (name, value) in
        [("STOPOVER_CHECKPOINT", "20ms"), ("STOPOVER_MODE", "read-only"), ("STOPOVER_WORKSPACE", "none")]
    {
        let (code, life) = Life::of("sleep 0.3").set("STAGE_LOOK_EVERY", "60").set(name, value).end();
        assert_eq!(code, 0, "{}", life.log());
        assert!(!life.notes().iter().any(|line| line.starts_with("look")), "{value}: {:?}", life.notes());
    }
}

fn a_stop_does_not_wait_for_a_look_at_head() {
    let life = Life::of(GENTLE).set("STAGE_LOOK_EVERY", "20").set("STOPOVER_CHECKPOINT", "off");
    let mut life = life.set("STAGE_LOOK", "say:looking;sleep:60000").begin();
    life.until("looking").term();
    assert_eq!(life.end(), 0, "{}", life.log());
    assert!(life.has("last ends"), "{:?}", life.notes());
    assert!(!life.log().contains("look at the workspace failed"), "{}", life.log());
    // Who asks meanwhile is served next.
    let life = Life::of(GENTLE).set("STAGE_LOOK_EVERY", "20").set("STOPOVER_CHECKPOINT", "off");
    let gate = life.path("gate");
    let mut life = life.set("STAGE_LOOK", &format!("until:{};exit:0", gate.display())).begin();
    life.until("look begins beside the app");
    let state = life.state();
    let asked = std::thread::spawn(move || supervise::request(&state, Wait::All));
    wait_until("it was asked", || life.log().contains("asks for a commit"));
    fs::write(&gate, "").expect("opens");
    assert_eq!(asked.join().expect("thread").expect("asks").expect("a supervisor").code, 0);
    life.term();
    assert_eq!(life.end(), 0);
}

fn who_asks_for_durable_is_answered_at_that_point() {
    let life = Life::of(GENTLE);
    let gate = life.path("gate");
    let steps = format!("receipt:{{\"a\":1}}\\n;event:d;until:{};receipt:{{\"a\":2}};exit:0", gate.display());
    let mut life = life.set("STAGE_CHECKPOINT", &steps).begin();
    life.until("app runs");
    let answer = supervise::request(&life.state(), Wait::Durable).expect("asks").expect("a supervisor");
    assert_eq!((answer.code, answer.receipt.as_slice()), (0, &b"{\"a\":1}"[..]));
    assert!(!life.has("checkpoint ends"), "the catch-up goes on");
    fs::write(gate, "").expect("opens");
    life.until("checkpoint ends").term();
    assert_eq!(life.end(), 0);
}

fn those_who_ask_during_a_commit_share_the_next_one() {
    let life = Life::of(GENTLE);
    let gate = life.path("gate");
    let mut life = life.set("STAGE_CHECKPOINT", &format!("until:{};exit:0", gate.display())).begin();
    life.until("app runs");
    let state = life.state();
    let ask = |state: PathBuf| std::thread::spawn(move || supervise::request(&state, Wait::All));
    let mut asked = vec![ask(state.clone())];
    life.until("checkpoint begins beside the app");
    asked.extend((0..5).map(|_| ask(state.clone())));
    wait_until("all have asked", || life.log().matches("asks for a commit").count() == 6);
    fs::write(&gate, "").expect("opens");
    for one in asked {
        assert_eq!(one.join().expect("thread").expect("asks").expect("a supervisor").code, 0);
    }
    assert_eq!(life.notes().iter().filter(|line| *line == "checkpoint ends").count(), 2);
    life.term();
    assert_eq!(life.end(), 0);
}

fn a_request_that_a_stop_overtakes_is_answered_by_the_last_commit() {
    let mut life = Life::of(GENTLE).set("STAGE_CHECKPOINT", "say:checking;sleep:60000").begin();
    life.until("app runs");
    let state = life.state();
    let asked = std::thread::spawn(move || supervise::request(&state, Wait::All));
    life.until("checking").term();
    assert_eq!(life.end(), 0);
    let answer = asked.join().expect("thread").expect("asks").expect("a supervisor");
    assert_eq!((answer.code, answer.receipt.as_slice()), (0, &b"{\"durable\":true}"[..]));
}

fn the_socket_comes_back_after_its_directory_was_removed() {
    let mut life = Life::of(GENTLE).set("STOPOVER_CHECKPOINT", "100ms").begin();
    life.until("app runs");
    // A checkpoint may write its notes there meanwhile.
    wait_until("it is removed", || fs::remove_dir_all(life.state()).is_ok());
    let state = life.state();
    wait_until("the socket is back", || supervise::request(&state, Wait::All).is_ok_and(|answer| answer.is_some()));
    life.term();
    assert_eq!(life.end(), 0);
}

/// So many clock ticks of processor time the process has used.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("number")).sum()
}

fn a_last_commit_that_failed_or_was_killed_is_tried_again_once() {
    for app in ["exit 0", GENTLE] {
        let life = Life::of(app);
        let steps = format!("listen;die:{};event:d;receipt:{{\"durable\":true}};exit:0", life.path("mark").display());
        let mut life = life.set("STAGE_LAST", &steps).begin();
        if app == GENTLE {
            life.until("app runs").term();
        }
        assert_eq!(life.end(), 0, "{}", life.log());
        assert_eq!(life.summary()["commit"]["durable"], true);
    }
    for end in ["die", "exit:1"] {
        let (code, life) = Life::of("exit 0").set("STAGE_LAST", end).end();
        assert_eq!(code, 82, "{}", life.log());
        assert_eq!(life.notes().iter().filter(|line| line.starts_with("last begins")).count(), 2);
    }
}

fn clients_that_take_all_descriptors_cost_neither_rest_nor_the_last_commit() {
    use std::os::unix::net::UnixStream;
    let mut life = Life::of(GENTLE).by("sh", &["-c", "ulimit -n 24; exec \"$@\"", "sh"]).begin();
    life.until("app runs");
    let socket = life.state().join("commit.sock");
    let clients: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).expect("connects")).collect();
    let before = ticks(life.running.pid());
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks(life.running.pid()) - before;
    assert!(used < 20, "{used} ticks of processor time in two seconds of silence");
    life.term();
    assert_eq!(life.end(), 0, "{}", life.log());
    assert!(life.has("last ends"));
    drop(clients);
}

fn descriptors_that_the_caller_left_open_are_no_trouble() {
    let life = Life::of("exit 0").set("S3_ACCESS_KEY", "a").set("S3_SECRET_KEY", "b");
    let script = "for fd in $(seq 3 100); do eval \"exec $fd</dev/null\"; done; exec \"$@\"";
    let life = life.by("bash", &["-c", script, "bash"]);
    let (code, life) = life.end();
    assert_eq!(code, 0, "{}", life.log());
    assert!(life.has("last ends"));
}

fn read_only_commits_nothing() {
    let (code, life) = Life::of(SAY).set("STOPOVER_MODE", "read-only").set("STOPOVER_CHECKPOINT", "10ms").end();
    assert_eq!(code, 0);
    assert_eq!(life.notes(), ["pull begins", "pull ends", "app says hello"]);
}

fn a_long_receipt_is_dropped_and_half_a_receipt_does_no_harm() {
    for steps in ["flood;exit:0", "receipt:{\"half\":[;exit:0", "receipt:nonsense;exit:0", "exit:0"] {
        let (code, life) = Life::of("exit 0").set("STAGE_LAST", steps).end();
        assert_eq!(code, 0);
        assert_eq!(life.summary()["commit"], Value::Null, "{steps}");
    }
}

fn the_termination_log_holds_whole_json_in_4096_bytes() {
    let names: Vec<String> = (0..900).map(|n| format!("{{\"path\":\"file-{n}\",\"reason\":\"denied\"}}")).collect();
    let steps = format!("receipt:{{\"not_stored\":[{}],\"error\":null}};exit:3", names.join(","));
    let life = Life::of("exit 0").set("STAGE_LAST", &steps).set("STOPOVER_SUMMARY", "");
    let file = life.path("termination-log");
    fs::write(&file, "").expect("writes");
    let life = life.set("STAGE_TERMINATION_LOG", file.to_str().expect("utf-8")).set("STOPOVER_LOG_FORMAT", "json");
    let (code, life) = life.end();
    assert_eq!(code, 82);
    let text = fs::read(&file).expect("summary");
    assert!(text.len() <= 4096);
    let value: Value = serde_json::from_slice(&text).expect("whole");
    let kept = value["commit"]["not_stored"].as_array().expect("list").len() as u64;
    assert_eq!(value["commit"]["omitted"], 900 - kept);
    let log = life.log();
    let last: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("the last line is the summary");
    assert_eq!(last["exit_code"], 82);
}

fn a_second_interrupt_abandons_the_last_commit() {
    let mut life = Life::of("exit 0").set("STAGE_LAST", "say:storing;hang").begin();
    life.until("storing");
    life.running.signal(libc::SIGINT);
    wait_until("it says what goes on", || life.log().contains("again within 2 s"));
    life.running.signal(libc::SIGINT);
    assert_eq!(life.end(), 82);
}

fn a_full_stderr_holds_nothing_up() {
    let mut life = Life::of(SAY);
    let (read, write) = nix::unistd::pipe().expect("pipe");
    // Full to the last byte, blocking, and never read.
    let end = write.try_clone().expect("dup");
    let filler = std::thread::spawn(move || {
        let mut end = fs::File::from(end);
        nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).expect("flag");
        while end.write(&[b'x'; 4096]).is_ok() {}
        while end.write(b"x").is_ok() {}
        nix::fcntl::fcntl(&end, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).expect("flag");
    });
    filler.join().expect("filled");
    life.command.stderr(Stdio::from(write));
    let (code, life) = life.end();
    assert_eq!(code, 0);
    assert!(life.has("last ends"));
    drop(read);
}

fn a_grandchild_with_the_pipes_open_holds_nothing_up() {
    let steps = "receipt:- 7 8\\n{\"files\":3};leave;exit:0";
    let (code, life) = Life::of(SAY).set("STAGE_PULL", steps).end();
    assert_eq!(code, 0);
    assert_eq!(life.summary()["restore"]["files"], 3);
}

fn keys_reach_sync_children_by_pipe_only() {
    let life = Life::of("exit 0").set("S3_ACCESS_KEY", "secret-a").set("S3_SECRET_KEY", "secret-b");
    let (code, life) = life.set("STAGE_LAST", "keys;listen;exit:0").end();
    assert_eq!(code, 0, "{}", life.log());
    assert!(
        life.has("keys \"S3_ACCESS_KEY\"=\"secret-a\" \"S3_SECRET_KEY\"=\"secret-b\" leaked false score 500"),
        "{:?}",
        life.notes()
    );
}

fn hidden_credentials_are_not_in_the_apps_environment() {
    for (hide, expected) in [("false", "app has a-b-r"), ("true", "app has --")] {
        let life = Life::of("echo app has $S3_ACCESS_KEY-$S3_SECRET_KEY-$AWS_ROLE_ARN >> $STAGE_NOTES");
        let life = life.set("S3_ACCESS_KEY", "a").set("S3_SECRET_KEY", "b").set("AWS_ROLE_ARN", "r");
        let (code, life) = life.set("STOPOVER_HIDE_CREDENTIALS", hide).end();
        assert_eq!(code, 0);
        assert!(life.has(expected), "{:?}", life.notes());
    }
}

fn the_phase_says_what_goes_on() {
    let life = Life::of(GENTLE);
    let (pull, last) = (life.path("pull-gate"), life.path("last-gate"));
    let life =
        life.set("STAGE_PULL", &format!("receipt:0000000001-0123456789ab 7 8\\n;until:{};exit:0", pull.display()));
    let mut life = life.set("STAGE_LAST", &format!("listen;until:{};exit:0", last.display())).begin();
    wait_until("restoring", || life.state().join("phase").exists());
    assert_eq!(life.phase()["state"], "restoring");
    fs::write(&pull, "").expect("opens");
    life.until("app runs");
    // The app may be faster than the note of its start.
    wait_until("running", || life.phase()["state"] == "running");
    let phase = life.phase();
    assert_eq!(phase["snapshot"], "0000000001-0123456789ab");
    assert!(phase["pid"].is_i64());
    life.term();
    life.until("last hears that the app is gone");
    wait_until("committing", || life.phase()["state"] == "committing");
    fs::write(&last, "").expect("opens");
    assert_eq!(life.end(), 0);
    let phase = life.phase();
    assert_eq!(phase["state"], "committed");
    assert!(phase["last_commit"].is_string() && phase["pid"].is_null());
}
