//! `weir top`: what a running appliance does, drawn anew each second.

mod frame;

use std::io::{IsTerminal as _, Write};
use std::time::Duration;

use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::state::Data;
use super::{EXIT_UNAVAILABLE, EXIT_USAGE, say};
use crate::api::{Status, client};

use frame::Frame;

/// What a frame is drawn for where no terminal says how wide and high it is.
const SIZE: (usize, usize) = (100, 40);
/// The alternate screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// What `weir top` is told.
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Print one frame as text, and end
    #[arg(long)]
    pub once: bool,
    /// How many seconds the rates are of
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub interval: u16,
    /// Where the appliance runs
    #[command(flatten)]
    pub data: Data,
}

/// What an appliance says of itself, and when.
pub(super) struct Sample {
    status: Status,
    at: Instant,
}

/// Shows, and gives the exit code.
pub async fn run(args: TopArgs) -> u8 {
    let shown = match args.once {
        true => once(&args).await,
        false if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() => {
            say("weir: `weir top` draws on a terminal; --once prints one frame");
            return EXIT_USAGE;
        }
        false => follow(&args).await,
    };
    match shown {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("weir: {error}"));
            EXIT_UNAVAILABLE
        }
    }
}

async fn sample(args: &TopArgs) -> Result<Sample, client::Error> {
    Ok(Sample { status: client::status(args.data.directory()).await?, at: Instant::now() })
}

async fn once(args: &TopArgs) -> Result<(), client::Error> {
    let before = sample(args).await?;
    tokio::time::sleep(Duration::from_secs(args.interval.into())).await;
    let now = sample(args).await?;
    let text = Frame::of(&before, &now).plain();
    // Whoever closed the pipe wants no more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

async fn follow(args: &TopArgs) -> Result<(), client::Error> {
    let mut before = sample(args).await?;
    let mut now = sample(args).await?;
    let screen = Screen::enter();
    let mut every = tokio::time::interval(Duration::from_secs(args.interval.into()));
    let mut quit = std::pin::pin!(quit());
    every.tick().await;
    loop {
        screen.draw(&Frame::of(&before, &now));
        tokio::select! { biased;
            () = &mut quit => return Ok(()),
            _ = every.tick() => {
                let next = sample(args).await?;
                before = std::mem::replace(&mut now, next);
            }
        }
    }
}

/// Resolves when somebody wants no more: by `q`, Escape, Ctrl-C, or a signal.
async fn quit() {
    let (mut stdin, mut key) = (tokio::io::stdin(), [0]);
    let Ok(mut term) = signal(SignalKind::terminate()) else { return };
    loop {
        tokio::select! {
            read = stdin.read(&mut key) => match read {
                Ok(1) if !matches!(key, [b'q' | b'Q' | 3 | 27]) => {}
                _ => return,
            },
            _ = term.recv() => return,
        }
    }
}

/// The terminal while it is drawn on. It is as it was once this is dropped.
struct Screen {
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> Self {
        let before = termios::tcgetattr(std::io::stdin()).ok();
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            // What cannot be set makes keys wait for Enter; all else works.
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw);
        }
        write(ENTER);
        Screen { before }
    }

    fn draw(&self, frame: &Frame) {
        let size = termios::tcgetwinsize(std::io::stdout()).ok();
        let (columns, rows) = size.map_or(SIZE, |size| (size.ws_col.into(), size.ws_row.into()));
        write(&frame.drawn(columns, rows));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
