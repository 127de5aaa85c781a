//! The main job in real containers: the images of `images/`, real installs, a real S3 server beside them, and the
//! engine's own `stop`. Slow: runs where `STOPOVER_TEST_REQUIRE` names `containers`, or an engine is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::process::Command;

use support::engine::{
    Engine,
    town::{Container, FRESH_DISK, HARDENED, Town},
};
use tempfile::TempDir;

/// Hard to break out of, and nothing of it can be written but an empty workspace.
fn hardened() -> Vec<&'static str> {
    [HARDENED.as_slice(), FRESH_DISK.as_slice()].concat()
}

/// One life, and another: restore, install, run, stop, on an empty disk each time.
fn an_app_lives_twice(app: &str, port: u16, installs: &str, install_made: &str, code: i32) {
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
    first.stop(10).exits(code).says(installs).says("everything is stored");
    let visits = format!("{workspace}/visits.txt");
    assert_eq!(town.object(&visits).unwrap().lines().count(), 1);
    let last_words = |visits: u32| {
        town.object(&format!("{workspace}/last-words.txt")).unwrap().contains(&format!("saw {visits} visits"))
    };
    // One that dies of the TERM has none.
    if code == 0 {
        assert!(last_words(1));
    }
    let keys = town.outsider().keys(&format!("{workspace}/"));
    assert!(
        !keys.iter().any(|key| ["node_modules", ".venv", "vendor"].iter().any(|made| key.contains(made))),
        "{keys:?}"
    );
    drop(first);

    let second = town.start(&image, &workspace, &words, &[]);
    assert!(
        second.get(port, "/visit").contains("visits: 2"),
        "the second container did not find the first one's visit"
    );
    // From inside, in the middle of its life.
    let (stored, said) = second.exec(&["/usr/local/bin/stopover", "commit"]);
    assert_eq!(stored, 0, "{said}");
    assert_eq!(town.object(&visits).unwrap().lines().count(), 2, "a commit from inside is there before the stop");
    second.stop(10).exits(code);
    if code == 0 {
        assert!(last_words(2));
    }
}

#[test]
fn a_node_app_comes_back_on_an_empty_disk() {
    an_app_lives_twice("node", 3000, "installing: npm ci", "node_modules/ms", 0);
}

#[test]
fn a_python_app_comes_back_on_an_empty_disk() {
    an_app_lives_twice("python", 8000, "pip install -r requirements.txt", ".venv/bin/python", 0);
}

#[test]
fn a_php_app_comes_back_on_an_empty_disk() {
    an_app_lives_twice("php", 8000, "installing: composer install", "vendor/autoload.php", 143);
}

#[test]
fn the_dockerfile_of_the_readme_can_be_copied() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    town.upload("node", "u/copied");
    let readme = include_str!("../README.md");
    let dockerfile = readme.split("```dockerfile\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // The base that it names has a user `node`.
    let base = format!("FROM {}\nRUN useradd --create-home node", engine.node());
    assert!(dockerfile.starts_with("FROM node:22-slim\n"), "{dockerfile}");
    let image = engine.image_of("copied", &dockerfile.replace("FROM node:22-slim", &base));
    let words = ["-p", "127.0.0.1::3000", "-e", "STOPOVER_STOP_TIMEOUT=30s", "--stop-timeout", "30"];
    let container = town.start(&image, "u/copied", &words, &[]);
    assert!(container.get(3000, "/visit").contains("visits: 1"));
    // npm tells its script of the TERM, waits for it, and then dies of the TERM itself.
    container.stop(30).exits(143).says("23.0 s for the app, 28.5 s in all").says("everything is stored");
    assert_eq!(town.object("u/copied/visits.txt").unwrap().lines().count(), 1);
}

#[test]
fn a_stop_while_dependencies_are_installed_cancels_and_stores_nothing() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let outsider = town.outsider();
    let package = r#"{"name":"slow","version":"1.0.0","scripts":{"preinstall":"echo half > half.txt; echo installs; sleep 600"}}"#;
    let lock = r#"{"name":"slow","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"slow","version":"1.0.0","hasInstallScript":true}}}"#;
    for (name, text) in [("package.json", package), ("package-lock.json", lock), ("index.js", "")] {
        outsider.put(&format!("u/slow/{name}"), text);
    }
    let words = [hardened(), vec!["-e", "npm_config_foreground_scripts=true"]].concat();
    let container = town.start(&engine.image("node"), "u/slow", &words, &[]);
    container.until_it_says("\ninstalls");
    assert_eq!(container.health(), "starting", "an install is no failure, and no running app");
    let (code, state) = container.exec(&["/usr/local/bin/stopover", "health"]);
    assert_eq!((code, state.trim()), (1, "installing"));
    let ended = container.stop(30);
    ended.exits(143);
    assert!(!ended.said.contains("running "), "the app must not start:\n{}", ended.said);
    assert!(!outsider.keys("u/slow/").contains(&"u/slow/half.txt".to_owned()));
}

#[test]
fn an_app_that_ends_by_itself_ends_its_container_with_its_code_after_a_commit() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let command = ["sh", "-c", "echo kept > kept.txt; exit 7"];
    town.start(&engine.image("python"), "u/seven", &hardened(), &command)
        .ends()
        .exits(7)
        .says("committed 1 file changed");
    assert_eq!(town.object("u/seven/kept.txt").as_deref(), Some("kept\n"));
}

#[test]
fn an_app_that_overstays_is_killed_and_stored_before_the_engine_kills() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let command = ["sh", "-c", "trap '' TERM; echo kept > kept.txt; echo runs; while :; do sleep 0.1; done"];
    let container = town.start(&engine.image("python"), "u/deaf", &hardened(), &command);
    container.until_it_says("runs");
    let ended = container.stop(10);
    // 137 is also what an engine's own KILL gives: the last line tells them apart.
    ended.exits(137).says("everything is stored");
    assert_eq!(town.object("u/deaf/kept.txt").as_deref(), Some("kept\n"));
}

#[test]
fn a_workspace_on_a_volume_belongs_to_the_images_user_and_outlives_its_containers() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let (image, volume) = (engine.image("python"), engine.name("volume"));
    let mount = format!("{volume}:/workspace");
    let words = [HARDENED.as_slice(), &["-v", &mount]].concat();
    let script = |text: &'static str| ["sh", "-c", text];
    let first = town.start(&image, "u/volume", &words, &script("echo one > one.txt"));
    first.ends().exits(0).says("everything is stored");
    drop(first);
    town.outsider().put("u/volume/two.txt", "two\n");
    let second = town.start(&image, "u/volume", &words, &script("cat one.txt two.txt; id -u; stat -c %u one.txt"));
    second.ends().exits(0).says("one\ntwo\n10001\n10001\n");
    drop(second);
    engine.docker(&["volume", "rm", &volume]);
}

/// Kubernetes gives an `emptyDir` to root and the pod's `fsGroup`, with the group's bit.
#[test]
fn a_workspace_that_belongs_to_root_and_the_apps_group_is_enough() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let (image, volume) = (engine.image("python"), engine.name("volume"));
    let mount = format!("type=volume,src={volume},dst=/workspace,volume-nocopy");
    let give = ["run", "--rm", "--user=0", "--mount", &mount, "--entrypoint=sh", &image, "-c"];
    engine.docker(&[give.as_slice(), &["chown 0:10001 /workspace && chmod 2775 /workspace"]].concat());
    let words = [HARDENED.as_slice(), &["--mount", &mount]].concat();
    for written in ["mkdir -p folder; echo one > folder/one.txt; chmod 640 folder/one.txt", "cat folder/one.txt"] {
        let ended = town.start(&image, "u/group", &words, &["sh", "-c", written]).ends();
        ended.exits(0).says("everything is stored");
    }
    assert_eq!(town.object("u/group/folder/one.txt").as_deref(), Some("one\n"));
    let ended = town
        .start(&image, "u/group", &hardened(), &["sh", "-c", "cat folder/one.txt; stat -c %a folder/one.txt"])
        .ends();
    ended.exits(0).says("one\n640\n");
    engine.docker(&["volume", "rm", &volume]);
}

#[test]
fn an_image_without_a_workspace_is_a_plain_init_and_healthy() {
    let Some(engine) = Engine::here() else { return };
    for image in ["node", "base"] {
        let app = match image {
            "node" => ["sh", "-c", "trap 'exit 5' TERM; echo runs; while :; do sleep 0.05; done"],
            _ => ["/bin/busybox", "sh", "-c"],
        };
        let script = "trap 'exit 5' TERM; echo runs; while :; do /bin/busybox sleep 0.05; done";
        let app = if image == "node" { app.to_vec() } else { [app.as_slice(), &[script]].concat() };
        let image = if image == "node" { engine.image("node") } else { static_app(engine) };
        let words = [HARDENED.as_slice(), &["-e", "STOPOVER_WORKSPACE=none"]].concat();
        let container = Container::start(engine, &image, &words, &app);
        container.until_it_says("runs").until_healthy();
        container.stop(10).exits(5);
    }
}

/// The empty image with an app that is one static file.
fn static_app(engine: &'static Engine) -> String {
    let busybox = engine.packages("busybox", "busybox-static");
    let base = engine.image("base");
    engine.image_of(
        "static-base",
        &format!("FROM {busybox} AS made\nFROM {base}\nCOPY --from=made /bin/busybox /bin/busybox\n"),
    )
}

#[test]
fn in_an_image_with_nothing_else_a_static_app_comes_back_and_names_are_resolved() {
    let Some(engine) = Engine::here() else { return };
    let town = Town::new(engine);
    let image = static_app(engine);
    let busybox = |script: &'static str| ["/bin/busybox", "sh", "-c", script];
    town.outsider().put("u/static/given.txt", "given\n");
    let script = "read text < given.txt; echo $text and mine > mine.txt; trap 'echo last > last.txt; exit 0' TERM; \
                  echo runs; while :; do /bin/busybox sleep 0.05; done";
    let first = town.start(&image, "u/static", &hardened(), &busybox(script));
    first.until_it_says("runs").until_healthy();
    first.stop(10).exits(0).says("everything is stored");
    let second = town.start(&image, "u/static", &hardened(), &busybox("/bin/busybox cat mine.txt last.txt"));
    second.ends().exits(0).says("given and mine\nlast\n");
    // An app that is not even a shell.
    let own = town.start(&engine.image("base"), "u/static", &hardened(), &["/usr/local/bin/stopover", "--version"]);
    own.ends().exits(0).says(&format!("stopover {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn in_an_image_without_authorities_tls_needs_ssl_cert_file_and_says_so() {
    let Some(engine) = Engine::here() else { return };
    let made = certificates();
    let town = Town::with_tls(engine, made.path());
    let image = static_app(engine);
    let mount = format!("{}:/authority.crt:ro", made.path().join("authority.crt").display());
    let trusting = [hardened(), vec!["-v", &mount, "-e", "SSL_CERT_FILE=/authority.crt"]].concat();
    let busybox = |script: &'static str| ["/bin/busybox", "sh", "-c", script];

    let first = town.start(&image, "u/tls", &trusting, &busybox("echo kept > kept.txt"));
    first.ends().exits(0).says("everything is stored");
    let second = town.start(&image, "u/tls", &trusting, &busybox("/bin/busybox cat kept.txt"));
    second.ends().exits(0).says("kept\n");

    let lost = town.start(&image, "u/tls", &hardened(), &busybox("echo never > never.txt"));
    lost.ends().exits(80).says("https://s3:9000").says("SSL_CERT_FILE").says("UnknownIssuer");
}

/// A folder with `authority.crt`, and `public.crt` and `private.key` for `s3` that it vouches for.
fn certificates() -> TempDir {
    let folder = TempDir::new().unwrap();
    let script = "set -e; curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $curve -days 30 -subj /CN=authority -keyout authority.key -out authority.crt
        openssl req $curve -subj /CN=s3 -keyout private.key -out request
        echo 'subjectAltName=DNS:s3' >extensions
        openssl x509 -req -in request -days 30 -CA authority.crt -CAkey authority.key -CAcreateserial \\
            -extfile extensions -out public.crt";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success(), "is openssl there? {}", String::from_utf8_lossy(&made.stderr));
    folder
}
