//! The log of a command: to stderr, in the format that was asked for, never a secret.
//!
//! Only what this crate says is logged. The SDK's own events are not: at their finer levels they hold requests with
//! all that is in them.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt};

use crate::{
    config::{Config, LogFormat, LogLevel},
    report::{Level, command_line, json_line, log_line},
    sys::stderr::Stderr,
};

/// Whether this is part of a container's log: PID 1 and its children write times, a command that somebody called does
/// not.
static IN_CONTAINER: AtomicBool = AtomicBool::new(false);

/// From now on lines have their time.
pub(super) fn as_container() {
    IN_CONTAINER.store(true, Ordering::Relaxed);
}

/// Begins to log as `config` says; a second call changes nothing.
pub(super) fn start(config: &Config) {
    let filter = match config.log {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::registry().with(Lines { format: config.log_format, filter });
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Writes one line, whatever the level that was asked for.
pub(super) fn line(format: LogFormat, level: Level, message: &str) {
    let line = match format {
        LogFormat::Text if IN_CONTAINER.load(Ordering::Relaxed) => log_line(SystemTime::now(), level, message),
        LogFormat::Text => command_line(level, message),
        LogFormat::Json => json_line(SystemTime::now(), level, message),
    };
    raw(&line);
}

/// A line about a phase, if such lines were asked for.
pub(super) fn info(config: &Config, message: &str) {
    if config.log >= LogLevel::Info {
        line(config.log_format, Level::Info, message);
    }
}

/// Writes a whole line at once; where nobody listens there is nobody to tell.
pub(super) fn raw(line: &str) {
    if IN_CONTAINER.load(Ordering::Relaxed) {
        CONTAINER.lock().unwrap_or_else(PoisonError::into_inner).take(line);
        return;
    }
    super::progress::above_bars(|| {
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    });
}

/// The log of a container. Nobody may read it, and that must not hold up a restore or a commit.
struct Container {
    stderr: Stderr,
    taken: bool,
}

static CONTAINER: Mutex<Container> = Mutex::new(Container { stderr: Stderr::Unopened, taken: true });

/// How long a line waits for a reader that is slow. After one that waited in vain none waits, until one is taken.
const PATIENCE: Duration = Duration::from_secs(1);

impl Container {
    fn take(&mut self, line: &str) {
        self.taken = self.stderr.take(line.as_bytes(), if self.taken { PATIENCE } else { Duration::ZERO });
    }
}

struct Lines {
    format: LogFormat,
    filter: LevelFilter,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= self.filter && metadata.target().starts_with("stopover")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        line(self.format, level, &(words.message + &words.fields));
    }
}

/// The message, and ` name=value` for each field behind it.
#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            let _ = write!(self.fields, " {}={value:?}", field.name());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}
