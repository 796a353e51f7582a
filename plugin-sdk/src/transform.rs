//! What a transform is, and how it is put before the host.

use std::cell::RefCell;

use crate::bindings::transform::exports::weir::plugin::step::{Answer, Description, Outcome, Replacement};
use crate::bindings::types;
use crate::output::{Buffers, Done, Going};
use crate::{Batch, ConfigError, Context, FromPipelineFile, Output, Record, Result, config, log};

/// A plugin that turns records into records.
///
/// One instance serves one partition and sees its records in order. It is deterministic as long as it keeps to what
/// it is given: there is no clock and no chance here, so a replay gives the same records.
///
/// A type that lacks something is told so where it is exported:
///
/// ```compile_fail
/// struct Nothing;
/// weir_plugin::export!(Nothing); // error: `Nothing` is not a transform
/// ```
///
/// ```compile_fail
/// # use weir_plugin::{Context, ConfigError, Output, Record, Result, Transform};
/// struct NoConfigType;
/// impl Transform for NoConfigType { // error: missing: `Config`
///     fn new(_: (), _: &Context) -> Result<Self, ConfigError> { Ok(NoConfigType) }
///     fn process(&mut self, record: Record<'_>, out: &mut Output) -> Result<()> { Ok(out.keep(record)) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transform: write `impl Transform for {Self}`, or export it by `export_stateful!` or `export_sink!`",
    label = "this type does not implement `weir_plugin::Transform`",
    note = "it takes `type Config`, `fn new` and `fn process`"
)]
pub trait Transform: Sized + 'static {
    /// What stands under `config` in the pipeline file; [`NoConfig`](crate::NoConfig) when there is nothing to set.
    type Config: FromPipelineFile;

    /// Makes an instance. An error keeps the pipeline from starting, and the operator reads it.
    fn new(config: Self::Config, context: &Context) -> Result<Self, ConfigError>;

    /// Processes a record. An error rejects this record alone.
    fn process(&mut self, record: Record<'_>, out: &mut Output<'_>) -> Result<()>;

    /// Processes a batch: for work that gains from seeing many records at once. Without it, each record is processed
    /// by itself.
    fn process_batch(&mut self, batch: &Batch<'_>, out: &mut Output<'_>) {
        for record in batch {
            if let Err(reject) = self.process(record, out) {
                out.reject(record, reject);
            }
        }
    }

    /// The names of the ports beside the main one: the first is `Port(1)`. At most 255.
    fn ports(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether it gives records their event time: it sets timestamps that say when something happened, where those that it is
    /// given say when it was read. The time of the pipeline is then that of the records that leave this step.
    fn sets_time(&self) -> bool {
        false
    }
}

/// Holds the instance of a plugin's component, from `init` on.
#[doc(hidden)]
pub struct Slot<T>(RefCell<Option<(T, Buffers)>>);

impl<T: Transform> Slot<T> {
    /// A slot before `init`.
    pub const fn empty() -> Self {
        Slot(RefCell::new(None))
    }

    /// Makes the instance.
    pub fn init(&self, config: &str, context: &Context) -> Result<Description, types::ConfigError> {
        log::panics();
        let plugin = config::read(config).and_then(|config| T::new(config, context))?;
        let ports = plugin.ports().into_iter().map(str::to_owned).collect();
        let sets_time = plugin.sets_time();
        *self.0.borrow_mut() = Some((plugin, Buffers::default()));
        Ok(Description { ports, sets_time })
    }

    /// Runs a batch through the instance.
    ///
    /// # Panics
    /// When `init` was not called before, which the contract rules out.
    pub fn process(&self, input: u32, columns: types::Batch) -> Outcome {
        let mut slot = self.0.borrow_mut();
        assert!(slot.is_some(), "the contract wants init before process");
        let Some((plugin, kept)) = slot.as_mut() else { return nothing() };
        let batch = Batch::new(&columns, input);
        let mut out = Output::new(batch, std::mem::take(kept));
        plugin.process_batch(&batch, &mut out);
        let (done, mut buffers) = out.finish();
        buffers.recycle(columns);
        *kept = buffers;
        done.into()
    }
}

impl From<Done> for Outcome {
    fn from(Done { going, rejects, .. }: Done) -> Self {
        let answer = match going {
            Going::Unchanged => Answer::Unchanged,
            Going::Selected(kept) => Answer::Select(kept),
            Going::Replaced(origin, _, records) => Answer::Replaced(Replacement { origin, records }),
        };
        Outcome { answer, rejects }
    }
}

fn nothing() -> Outcome {
    Outcome { answer: Answer::Select(Vec::new()), rejects: Vec::new() }
}

/// Makes a [`Transform`](crate::Transform) the plugin of this crate, which has to be a `cdylib`.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        /// Twice in a module, it says by its name what is wrong; elsewhere the linker does.
        const _A_CRATE_EXPORTS_ONE_PLUGIN: () = ();

        const _: () = {
            use $crate::bindings::transform::exports::weir::plugin::step;
            use $crate::bindings::types;

            ::std::thread_local! {
                static SLOT: $crate::transform::Slot<$plugin> = const { $crate::transform::Slot::empty() };
            }

            struct Exported;

            /// Names what only a guest calls, so that a native build does not take the plugin for dead code.
            const _: fn(
                <$plugin as $crate::Transform>::Config,
                &$crate::Context,
            ) -> ::std::result::Result<$plugin, $crate::ConfigError> = <$plugin as $crate::Transform>::new;

            impl step::Guest for Exported {
                fn init(
                    config: ::std::string::String,
                    context: types::Context,
                ) -> ::std::result::Result<step::Description, types::ConfigError> {
                    SLOT.with(|slot| slot.init(&config, &context))
                }

                fn process(input: u32, batch: types::Batch) -> step::Outcome {
                    SLOT.with(|slot| slot.process(input, batch))
                }
            }

            #[cfg(target_family = "wasm")]
    $crate::bindings::transform::export!(Exported with_types_in $crate::bindings::transform);
        };
    };
}
