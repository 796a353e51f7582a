//! What a stateful transform is, and how it is put before the host.

use std::cell::RefCell;
use std::ops::Deref;

use crate::bindings::stateful_transform::exports::weir::plugin::stateful_step::{
    Advanced, Alarms, Answer, Description, Outcome, Replacement,
};
use crate::bindings::types;
use crate::output::{Buffers, Cause, Done, Going};
use crate::state::{Clock, State, Timer};
use crate::{Batch, ConfigError, Context, FromPipelineFile, Output, Record, Result, config, log};

/// How many timers fire in one call: a call has limits of time and size, and how many timers become due at once has none.
const TIMERS_PER_CALL: u32 = 1_000;

/// A plugin that turns records into records, and remembers.
///
/// One instance serves one partition and sees its records in order. What it puts into its tables is committed together
/// with the records that it makes; a replay finds the tables as they were. It counts logins by user and minute like this:
///
/// ```
/// use weir_plugin::state::{State, Timer, Windows};
/// use weir_plugin::{ConfigError, Context, Event, NoConfig, Output, Result, Stateful};
///
/// struct Logins {
///     counts: Windows<String, u64>,
/// }
///
/// impl Stateful for Logins {
///     type Config = NoConfig;
///
///     fn new(_: NoConfig, _: &Context, state: &mut State) -> Result<Self, ConfigError> {
///         Ok(Logins { counts: state.tumbling("counts", 60_000, 5_000)? })
///     }
///
///     fn process(&mut self, event: &Event<'_>, out: &mut Output) -> Result<()> {
///         let user = event.text()?.to_owned();
///         if self.counts.add(&user, event, |_, count| *count += 1) == 0 {
///             out.count_late();
///         }
///         Ok(())
///     }
///
///     fn timer(&mut self, timer: &Timer<'_>, out: &mut Output) -> Result<()> {
///         if let Some((user, window, count)) = self.counts.closed(timer) {
///             out.make(window.end).key(&user).value(count.to_string());
///         }
///         Ok(())
///     }
/// }
/// weir_plugin::export_stateful!(Logins);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a stateful transform: write `impl Stateful for {Self}`, or export it by `export!` or `export_sink!`",
    label = "this type does not implement `weir_plugin::Stateful`",
    note = "it takes `type Config`, `fn new` and `fn process`"
)]
pub trait Stateful: Sized + 'static {
    /// What stands under `config` in the pipeline file; [`NoConfig`](crate::NoConfig) when there is nothing to set.
    type Config: FromPipelineFile;

    /// The schema of what it remembers: to be counted up once keys or values of its tables have another form or meaning.
    const SCHEMA: u32 = 1;

    /// Makes an instance, and names what it remembers. Tables cannot be read yet. An error keeps the pipeline from starting,
    /// and the operator reads it.
    fn new(config: Self::Config, context: &Context, state: &mut State) -> Result<Self, ConfigError>;

    /// Called with a batch before its records are processed one by one: for tables to be asked for many keys at once.
    fn prefetch(&mut self, batch: &Batch<'_>) {
        let _ = batch;
    }

    /// Processes a record; what is due before it was done. An error rejects this record alone, but what was written for it
    /// before stays written.
    fn process(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<()>;

    /// Called when a timer fires, the earliest first. An error is logged: there is no record to reject.
    fn timer(&mut self, timer: &Timer<'_>, out: &mut Output<'_>) -> Result<()> {
        let _ = (timer, out);
        Ok(())
    }

    /// Called before anything else where what is remembered has another schema, `from`: has the tables hold it in the form of
    /// this version, as by [`Table::rewrite`](crate::state::Table::rewrite). With [`Migration::More`] it is called again, so that no call takes too
    /// long; all calls together are one commit. An error, which the operator reads, has this version refused, and nothing is changed.
    /// Once it is done there is no way back to the version before.
    fn migrate(&mut self, from: u32) -> Result<Migration> {
        let _ = from;
        Err("it knows no migration: it has no `fn migrate`".into())
    }

    /// The names of the ports beside the main one: the first is `Port(1)`. At most 255.
    fn ports(&self) -> Vec<&str> {
        Vec::new()
    }

    /// As [`Transform::sets_time`](crate::Transform::sets_time).
    fn sets_time(&self) -> bool {
        false
    }
}

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what is not done has to be gone on with"]
pub enum Migration {
    /// There is more to do.
    More,
    /// All is done.
    Done,
}

/// A record, and how far event time has come with it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    record: Record<'a>,
    watermark: i64,
}

impl Event<'_> {
    /// The event time up to which the inputs are taken to be complete, this record counted: milliseconds since
    /// 1970-01-01T00:00:00Z. `i64::MIN` while an input has given nothing yet.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }
}

impl<'a> Deref for Event<'a> {
    type Target = Record<'a>;

    fn deref(&self) -> &Record<'a> {
        &self.record
    }
}

/// Holds the instance of a plugin's component, from `init` on.
#[doc(hidden)]
pub struct Slot<T>(RefCell<Option<Running<T>>>);

struct Running<T> {
    plugin: T,
    state: State,
    buffers: Buffers,
}

impl<T: Stateful> Slot<T> {
    /// A slot before `init`.
    pub const fn empty() -> Self {
        Slot(RefCell::new(None))
    }

    /// Makes the instance.
    pub fn init(&self, config: &str, context: &Context) -> Result<Description, types::ConfigError> {
        log::panics();
        let mut state = State::default();
        let plugin = config::read(config).and_then(|config| T::new(config, context, &mut state))?;
        let ports = plugin.ports().into_iter().map(str::to_owned).collect();
        let (tables, sets_time) = (state.describe(), plugin.sets_time());
        *self.0.borrow_mut() = Some(Running { plugin, state, buffers: Buffers::default() });
        Ok(Description { ports, sets_time, tables, schema: T::SCHEMA })
    }

    /// Migrates a part of what is remembered; whether there is more.
    ///
    /// # Panics
    /// As [`Slot::process`].
    pub fn migrate(&self, from: u32) -> std::result::Result<bool, String> {
        let mut slot = self.0.borrow_mut();
        let Running { plugin, state, .. } = running(&mut slot);
        let migrated = plugin.migrate(from).map_err(|reject| reject.reason().to_owned())?;
        state.flush();
        Ok(migrated == Migration::More)
    }

    /// Runs a batch through the instance.
    ///
    /// # Panics
    /// When `init` was not called before, which the contract rules out.
    pub fn process(&self, input: u32, columns: types::Batch, watermarks: &[i64]) -> Outcome {
        let batch = Batch::new(&columns, input);
        let mut postponed = 0;
        let (Done { going, rejects, late }, alarms) = self.run(batch, |plugin, state, out| {
            plugin.prefetch(&batch);
            let mut allowed = TIMERS_PER_CALL;
            for (record, watermark) in batch.iter().zip(watermarks) {
                if !fire(plugin, state, Clock::EventTime, *watermark, Cause::EventTime, out, &mut allowed) {
                    postponed = batch.len() as u32 - record.index();
                    return;
                }
                let of_record = Cause::Record(record.index());
                out.set_cause(of_record);
                if let Err(reject) = plugin.process(&Event { record, watermark: *watermark }, out) {
                    out.reject(record, reject);
                }
                // Timers that it set for a time that is past come of it, and not of the passing of time.
                fire(plugin, state, Clock::EventTime, *watermark, |_| of_record, out, &mut { u32::MAX });
            }
        });
        let answer = match going {
            Going::Unchanged => Answer::Unchanged,
            Going::Selected(kept) => Answer::Select(kept),
            Going::Replaced(origin, fired, records) => Answer::Replaced(Replacement { origin, fired, records }),
        };
        Outcome { answer, rejects, late, postponed, alarms }
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// As [`Slot::process`].
    pub fn advance(&self, watermark: Option<i64>, clock: i64) -> Advanced {
        let none = types::Batch::default();
        let (Done { going, .. }, alarms) = self.run(Batch::new(&none, 0), |plugin, state, out| {
            let mut allowed = TIMERS_PER_CALL;
            if let Some(watermark) = watermark {
                fire(plugin, state, Clock::EventTime, watermark, Cause::EventTime, out, &mut allowed);
            }
            // At the lowest number the clock shows no time: timers of it may be set for that very number.
            if clock > i64::MIN {
                fire(plugin, state, Clock::ClockTime, clock, |_| Cause::ClockTime, out, &mut allowed);
            }
        });
        let (origin, fired, records) = match going {
            Going::Replaced(origin, fired, records) => (origin, fired, records),
            Going::Unchanged | Going::Selected(_) => (Vec::new(), Vec::new(), types::Batch::default()),
        };
        Advanced { origin, fired, records, alarms }
    }

    fn run<'b>(&self, batch: Batch<'b>, work: impl FnOnce(&mut T, &State, &mut Output<'b>)) -> (Done, Alarms) {
        let mut slot = self.0.borrow_mut();
        let Running { plugin, state, buffers } = running(&mut slot);
        let mut out = Output::new(batch, std::mem::take(buffers));
        work(plugin, state, &mut out);
        let (done, kept) = out.finish();
        *buffers = kept;
        state.flush();
        let alarms =
            Alarms { event_time: state.next_due(Clock::EventTime), clock_time: state.next_due(Clock::ClockTime) };
        (done, alarms)
    }
}

#[expect(clippy::expect_used, reason = "the contract rules it out, and a trap is what a host that breaks it gets")]
fn running<T>(slot: &mut Option<Running<T>>) -> &mut Running<T> {
    slot.as_mut().expect("the contract wants init first")
}

/// Lets fire what is due, and what becomes due by that, as far as it is allowed. Returns whether that was all.
fn fire<T: Stateful>(
    plugin: &mut T,
    state: &State,
    clock: Clock,
    until: i64,
    cause: impl Fn(i64) -> Cause,
    out: &mut Output<'_>,
    allowed: &mut u32,
) -> bool {
    let mut time = i64::MIN;
    loop {
        // What a timer sets for an earlier time belongs to it, and is not left to another call: it fires at its time.
        let limit = if *allowed > 0 { until } else { until.min(time.saturating_sub(1)) };
        let Some(due) = state.take_due(clock, limit) else { break };
        *allowed = allowed.saturating_sub(1);
        time = time.max(due.at);
        out.set_cause(cause(time));
        if let Err(reject) = plugin.timer(&Timer::new(&due, until), out) {
            crate::error!("a timer of time {} failed: {}", due.at, reject.reason());
        }
    }
    *allowed > 0 || state.next_due(clock).is_none_or(|next| next > until)
}

/// Makes a [`Stateful`](crate::Stateful) transform the plugin of this crate, which has to be a `cdylib`.
#[macro_export]
macro_rules! export_stateful {
    ($plugin:ty) => {
        /// Twice in a module, it says by its name what is wrong; elsewhere the linker does.
        const _A_CRATE_EXPORTS_ONE_PLUGIN: () = ();

        const _: () = {
            use $crate::bindings::stateful_transform::exports::weir::plugin::stateful_step;
            use $crate::bindings::types;

            ::std::thread_local! {
                static SLOT: $crate::stateful::Slot<$plugin> = const { $crate::stateful::Slot::empty() };
            }

            struct Exported;

            /// Names what only a guest calls, so that a native build does not take the plugin for dead code.
            const _: fn(
                <$plugin as $crate::Stateful>::Config,
                &$crate::Context,
                &mut $crate::state::State,
            ) -> ::std::result::Result<$plugin, $crate::ConfigError> = <$plugin as $crate::Stateful>::new;

            impl stateful_step::Guest for Exported {
                fn init(
                    config: ::std::string::String,
                    context: types::Context,
                ) -> ::std::result::Result<stateful_step::Description, types::ConfigError> {
                    SLOT.with(|slot| slot.init(&config, &context))
                }

                fn migrate(from: u32) -> ::std::result::Result<bool, ::std::string::String> {
                    SLOT.with(|slot| slot.migrate(from))
                }

                fn process(
                    input: u32,
                    batch: types::Batch,
                    watermarks: ::std::vec::Vec<i64>,
                ) -> stateful_step::Outcome {
                    SLOT.with(|slot| slot.process(input, batch, &watermarks))
                }

                fn advance(watermark: ::std::option::Option<i64>, clock: i64) -> stateful_step::Advanced {
                    SLOT.with(|slot| slot.advance(watermark, clock))
                }
            }

            #[cfg(target_family = "wasm")]
    $crate::bindings::stateful_transform::export!(Exported with_types_in $crate::bindings::stateful_transform);
        };
    };
}
