//! The main job in real containers: the images of `images/`, real installs, a real S3 server beside them, and the
//! engine's own `stop`. Slow: runs where `STOPOVER_TEST_REQUIRE` names `containers`, or an engine is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use support::engine::{
    Engine,
    town::{FRESH_DISK, HARDENED, Town},
};

/// Hard to break out of, and nothing of it can be written but an empty workspace.
fn hardened() -> Vec<&'static str> {
    [HARDENED.as_slice(), FRESH_DISK.as_slice()].concat()
}

/// One life, and another: restore, install, run, stop, on an empty disk each time.
fn an_app_lives_twice(app: &str, port: u16, installs: &str, install_made: &str) {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let workspace = format!("user_data/alice/{app}");
    town.upload(app, &workspace);
    let image = engine.image(app);
    let publish = format!("127.0.0.1::{port}");
    let words = [hardened(), vec!["-p", &publish]].concat();

    let first = town.start(&image, &workspace, &words, &[]);
    assert!(first.get(port, "/visit").contains("visits: 1"));
    first.until_healthy();
    assert!(first.exec(&["ls", install_made]).0 == 0, "{install_made} is not there");
    first.stop(10).exits(0).says(installs).says("everything is stored");
    let visits = format!("{workspace}/visits.txt");
    assert_eq!(town.object(&visits).unwrap().lines().count(), 1);
    assert!(town.object(&format!("{workspace}/last-words.txt")).unwrap().contains("saw 1 visits"));
    let keys = town.outsider().keys(&format!("{workspace}/"));
    assert!(!keys.iter().any(|key| key.contains("node_modules") || key.contains(".venv")), "{keys:?}");
    drop(first);

    let second = town.start(&image, &workspace, &words, &[]);
    assert!(
        second.get(port, "/visit").contains("visits: 2"),
        "the second container did not find the first one's visit"
    );
    // From inside, in the middle of its life.
    let (code, said) = second.exec(&["/usr/local/bin/stopover", "commit"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(town.object(&visits).unwrap().lines().count(), 2, "a commit from inside is there before the stop");
    second.stop(10).exits(0);
    assert!(town.object(&format!("{workspace}/last-words.txt")).unwrap().contains("saw 2 visits"));
}

#[test]
fn a_node_app_comes_back_on_an_empty_disk() {
    an_app_lives_twice("node", 3000, "installing: npm ci", "node_modules/ms");
}

#[test]
fn a_python_app_comes_back_on_an_empty_disk() {
    an_app_lives_twice("python", 8000, "pip install -r requirements.txt", ".venv/bin/python");
}
