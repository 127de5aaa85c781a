//! How far a sync is: bars on a terminal, a line every few seconds otherwise; and the bytes PID 1 waits for.

use std::{
    fs::File,
    io::{IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{child, context::Context, failure::Failure, log};
use crate::{
    config::{Config, LogFormat},
    report::{Events, Level, Phase, Progress, Receipt, bytes, grouped},
};

/// Between two lines about one phase. A phase that is over before has none.
const EVERY: Duration = Duration::from_secs(3);

/// The bars that are drawn, so that a log line can be written above them.
static BARS: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Runs `write` while no bar is drawn.
pub(super) fn above_bars(write: impl FnOnce()) {
    let bars = locked(&BARS).clone();
    match bars {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere does not make the figures wrong enough to matter.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to a sync, for whoever started this command.
pub(super) struct Listener {
    /// PID 1's status pipe.
    status: Option<Mutex<File>>,
    /// PID 1's receipt pipe, of a commit: a receipt goes there at the durable point, and one at the end.
    receipt: Option<Mutex<File>>,
    format: LogFormat,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    phase: Option<Phase>,
    last: Option<Instant>,
    finished: bool,
    bar: Option<ProgressBar>,
}

impl Listener {
    /// For this command; as a child of PID 1 it tells that one too.
    pub(super) fn new(context: &Context, config: &Config) -> Result<Self, Failure> {
        let status = child::pipe(context.handover().and_then(|handover| handover.status))?;
        if context.handover().is_none() && config.log_format == LogFormat::Text && std::io::stderr().is_terminal() {
            *locked(&BARS) = Some(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        }
        Ok(Self::quiet(status, None, config.log_format))
    }

    /// The same of a commit, which writes receipts.
    pub(super) fn of_commit(context: &Context, config: &Config) -> Result<Self, Failure> {
        let receipt = child::pipe(context.handover().and_then(|handover| handover.receipt))?;
        let mut listener = Self::new(context, config)?;
        listener.receipt = receipt.map(Mutex::new);
        Ok(listener)
    }

    fn quiet(status: Option<File>, receipt: Option<File>, format: LogFormat) -> Self {
        Self { status: status.map(Mutex::new), receipt: receipt.map(Mutex::new), format, shown: Mutex::default() }
    }

    /// Writes a receipt for PID 1, a line of its own.
    pub(super) fn write_receipt(&self, receipt: &Receipt) {
        if let (Some(pipe), Ok(mut line)) = (&self.receipt, serde_json::to_vec(receipt)) {
            line.push(b'\n');
            child::write_receipt(Some(&mut locked(pipe)), &line);
        }
    }

    fn tell(&self, event: u8) {
        if let Some(status) = &self.status {
            // A PID 1 that is gone is told nothing.
            let _ = locked(status).write_all(&[event]);
        }
    }

    fn line(&self, progress: &Progress) {
        match self.format {
            LogFormat::Json => {
                if let Ok(mut line) = serde_json::to_string(progress) {
                    line.push('\n');
                    log::raw(&line);
                }
            }
            LogFormat::Text => log::line(self.format, Level::Info, &sentence(progress)),
        }
    }
}

fn sentence(progress: &Progress) -> String {
    let amount = |number| if progress.phase == Phase::Cleanup { grouped(number) } else { bytes(number) };
    let (current, total) = (amount(progress.current), amount(progress.total));
    let mut text = format!("{}: {:.0} %, {current} of {total}", progress.phase.word(), progress.percentage.floor());
    if let Some(file) = &progress.current_file {
        text.push_str(", ");
        text.push_str(file);
    }
    text
}

impl Events for Listener {
    fn progress(&self, progress: Progress) {
        let mut shown = locked(&self.shown);
        if shown.phase != Some(progress.phase) {
            if let Some(bar) = shown.bar.take() {
                bar.finish_and_clear();
            }
            *shown = Shown { phase: Some(progress.phase), last: Some(Instant::now()), ..Shown::default() };
            if let Some(bars) = &*locked(&BARS) {
                let bar = bars.add(ProgressBar::new(progress.total));
                bar.set_style(style(progress.phase));
                bar.set_prefix(progress.phase.word());
                shown.bar = Some(bar);
            }
        }
        let done = progress.current >= progress.total;
        if let Some(bar) = &shown.bar {
            bar.set_length(progress.total);
            bar.set_position(progress.current);
            // A name is somebody else's text: it must not move the cursor.
            let name: String =
                progress.current_file.iter().flat_map(|name| name.chars()).filter(|c| !c.is_control()).collect();
            bar.set_message(name);
            if done {
                bar.finish_and_clear();
            }
            return;
        }
        let due = shown.last.is_some_and(|last| last.elapsed() >= EVERY);
        // For scripts the end of each phase is a line too, once.
        let last_word = done && !shown.finished && self.format == LogFormat::Json;
        if due && !shown.finished || last_word {
            shown.last = Some(Instant::now());
            self.line(&progress);
        }
        shown.finished = done;
    }

    fn ready(&self) {
        self.tell(b'r');
    }

    fn durable(&self, receipt: &Receipt) {
        // Before the event: whoever waits for it reads the receipt when it comes.
        self.write_receipt(receipt);
        self.tell(b'd');
    }

    fn late(&self, receipt: &Receipt) {
        self.write_receipt(receipt);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(bar) = locked(&self.shown).bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn style(phase: Phase) -> ProgressStyle {
    let template = if phase == Phase::Cleanup {
        "{prefix:>8} [{bar:30}] {pos}/{len} {wide_msg}"
    } else {
        "{prefix:>8} [{bar:30}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {wide_msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_line_says_how_much_of_what() {
        let progress = Progress::new(Phase::Download, 1_500_000, 98_000_000, Some("src/a.js".to_owned()));
        assert_eq!(sentence(&progress), "download: 1 %, 1.5 MB of 98 MB, src/a.js");
        assert_eq!(sentence(&Progress::new(Phase::Cleanup, 1000, 2000, None)), "cleanup: 50 %, 1,000 of 2,000");
    }

    fn pipe() -> (std::io::PipeReader, File) {
        let (read, write) = std::io::pipe().unwrap();
        (read, File::from(std::os::fd::OwnedFd::from(write)))
    }

    #[test]
    fn pid_1_gets_one_byte_for_each_moment_and_the_receipt_before_it() {
        let ((mut events, status), (mut receipts, receipt)) = (pipe(), pipe());
        let listener = Listener::quiet(Some(status), Some(receipt), LogFormat::Text);
        listener.ready();
        listener.durable(&Receipt::failed(&"no"));
        drop(listener);
        let mut bytes = Vec::new();
        events.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"rd");
        let mut text = String::new();
        receipts.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("\"error\":\"no\"}\n") && text.lines().count() == 1, "{text}");
    }
}
