//! `syslog-to-slack`: attacks on SSH, from syslog to a channel of Slack, or of the one that plays Slack here.

use std::env;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::slack::Slack;
use super::weir::Weir;
use super::{Settings, Stage, Story};
use crate::error::{Context, Error, Result};
use crate::say;
use crate::services::{self, Name};

/// Lines of the sample that tell of a user who does not exist.
const ATTACKS: u64 = 14;
/// Names the token of a bot, as in the pipeline file.
const TOKEN: &str = "SLACK_TOKEN";
/// Names the channel that it posts to.
const CHANNEL: &str = "SLACK_CHANNEL";
/// How long Weir may take until it listens: it compiles plugins that are new to it.
const LISTENS_WITHIN: Duration = Duration::from_secs(120);

/// The story, and who plays Slack where no workspace is given.
pub struct Attacks {
    played: Option<Slack>,
    port: u16,
}

impl Attacks {
    /// Looks whether a workspace is given.
    pub fn new() -> Self {
        let is_given = env::var_os(TOKEN).is_some_and(|token| !token.is_empty());
        Attacks { played: (!is_given).then(Slack::default), port: 0 }
    }
}

impl Story for Attacks {
    fn about(&self) -> &'static str {
        "Machines send their logs by syslog. Weir parses them, SQL keeps the guesses of user names, and a channel of Slack is\n\
         told of each, in one thread a host. A burst does not flood the channel: three of a host, then one message for the rest."
    }

    fn servers(&self) -> &'static [Name] {
        &[]
    }

    fn prepare(&mut self, stage: &Stage<'_>) -> Result<Settings> {
        self.port = services::free_port(&stage.directory)?;
        let mut replaced = vec![("127.0.0.1:5514", format!("127.0.0.1:{}", self.port))];
        let Some(slack) = &self.played else {
            say::line(format_args!("{TOKEN} is set, so the messages go to the workspace that it is for."));
            replaced.extend(env::var(CHANNEL).map(|channel| ("channel: soc", format!("channel: {channel}"))));
            return Ok(Settings { replaced, secrets: Vec::new() });
        };
        let port = slack.serve()?;
        say::line(format_args!(
            "{TOKEN} is not set, so this program plays Slack, on 127.0.0.1:{port}: it answers as Slack documents it, takes no\n\
             more than Slack does, and prints what is posted."
        ));
        replaced.push(("type: slack,", format!("type: slack, url: \"http://127.0.0.1:{port}/api/\",")));
        Ok(Settings { replaced, secrets: vec![(TOKEN, slack.token().to_owned())] })
    }

    fn feed(&self, stage: &Stage<'_>, weir: &mut Weir) -> Result<()> {
        let sample = stage.read("syslog.log")?;
        let (first, rest) = sample.split_at(sample.match_indices('\n').nth(9).map_or(0, |(at, _)| at + 1));
        let mut tcp = self.connect(stage, weir)?;
        say::line(format_args!(
            "syslog.log is sent to 127.0.0.1:{}, {} lines by UDP and {} by TCP. {ATTACKS} of them tell of guesses.\n",
            self.port,
            first.lines().count(),
            rest.lines().count()
        ));
        let udp = UdpSocket::bind("127.0.0.1:0").context(|| "syslog by UDP")?;
        for line in first.lines() {
            udp.send_to(line.as_bytes(), ("127.0.0.1", self.port)).context(|| "syslog by UDP")?;
        }
        tcp.write_all(rest.as_bytes()).context(|| "syslog by TCP")
    }

    fn expected(&self) -> u64 {
        ATTACKS
    }

    fn arrived(&self, _: &Stage<'_>) -> Result<u64> {
        Ok(self.played.as_ref().map_or(0, Slack::told))
    }

    fn show(&self, _: &Stage<'_>) -> Result<()> {
        let messages = self.played.as_ref().map_or(0, Slack::messages);
        say::line(format_args!("{ATTACKS} attacks were told of in {messages} messages."));
        Ok(())
    }

    fn is_counted(&self) -> bool {
        self.played.is_some()
    }
}

impl Attacks {
    /// Waits until Weir listens. UDP it then takes as well: it opens that first.
    fn connect(&self, stage: &Stage<'_>, weir: &mut Weir) -> Result<TcpStream> {
        let begun = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => return Ok(stream),
                Err(error) if begun.elapsed() > LISTENS_WITHIN => {
                    return Err(Error::new(format_args!("weir does not listen on port {}: {error}", self.port)));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
            stage.interrupt.check()?;
            weir.check()?;
        }
    }
}
