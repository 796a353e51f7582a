//! What a sink is, and how it is put before the host.

use std::cell::RefCell;
use std::fmt;

use crate::bindings::types;
use crate::record::Records;
use crate::reject::Rejects;
use crate::{Batch, ConfigError, Context, FromPipelineFile, Record, Result, config, log};

/// A plugin that delivers records to a system outside.
///
/// The host commits when a batch is written, so a record counts as delivered unless it is rejected. After a crash the
/// same records come again under the same ids: a sink that writes under the id does no harm by repeating.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a sink: write `impl Sink for {Self}`, or export it by `export!` or `export_stateful!`",
    label = "this type does not implement `weir_plugin::Sink`",
    note = "it takes `type Config`, `fn new` and `fn write`"
)]
pub trait Sink: Sized + 'static {
    /// What stands under `config` in the pipeline file; [`NoConfig`](crate::NoConfig) when there is nothing to set.
    type Config: FromPipelineFile;

    /// Makes an instance. An error keeps the pipeline from starting, and the operator reads it.
    fn new(config: Self::Config, context: &Context) -> Result<Self, ConfigError>;

    /// Delivers a record, and returns when the system outside has confirmed it. An error rejects this record alone.
    fn write(&mut self, record: Record<'_>, id: RecordId<'_>) -> Result<()>;

    /// Delivers a batch, for systems that take many records at once. Without it, each record is written by itself.
    fn write_batch(&mut self, delivery: &Delivery<'_>, rejects: &mut Rejects) {
        for (record, id) in delivery {
            if let Err(reject) = self.write(record, id) {
                rejects.add(record, reject);
            }
        }
    }
}

/// What stays the same when a record is delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId<'a> {
    /// Where the input was read from.
    pub source: &'a str,
    /// The place of the input record in it.
    pub offset: u64,
    /// Which of the outputs of that input record this is, from 0.
    pub ordinal: u32,
}

impl fmt::Display for RecordId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.offset, self.ordinal)
    }
}

/// A batch on its way out, with the ids of its records.
#[derive(Clone, Copy)]
pub struct Delivery<'a> {
    batch: Batch<'a>,
    source: &'a str,
    ordinals: &'a [u32],
}

impl<'a> Delivery<'a> {
    /// The records, without their ids.
    pub fn batch(&self) -> &Batch<'a> {
        &self.batch
    }

    /// The records and their ids, in order.
    pub fn iter(&self) -> Deliveries<'a> {
        Deliveries { records: self.batch.iter(), source: self.source, ordinals: self.ordinals }
    }
}

impl<'a> IntoIterator for &Delivery<'a> {
    type Item = (Record<'a>, RecordId<'a>);
    type IntoIter = Deliveries<'a>;

    fn into_iter(self) -> Deliveries<'a> {
        self.iter()
    }
}

/// The records of a delivery, with their ids.
#[derive(Clone)]
pub struct Deliveries<'a> {
    records: Records<'a>,
    source: &'a str,
    ordinals: &'a [u32],
}

impl<'a> Iterator for Deliveries<'a> {
    type Item = (Record<'a>, RecordId<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let ordinal = self.ordinals.get(record.index() as usize).copied().unwrap_or_default();
        Some((record, RecordId { source: self.source, offset: record.offset(), ordinal }))
    }
}

/// Holds the instance of a plugin's component, from `init` on.
#[doc(hidden)]
pub struct Slot<T>(RefCell<Option<T>>);

impl<T: Sink> Slot<T> {
    /// A slot before `init`.
    pub const fn empty() -> Self {
        Slot(RefCell::new(None))
    }

    /// Makes the instance.
    pub fn init(&self, config: &str, context: &Context) -> Result<(), types::ConfigError> {
        log::panics();
        let plugin = config::read(config).and_then(|config| T::new(config, context))?;
        *self.0.borrow_mut() = Some(plugin);
        Ok(())
    }

    /// Has the instance deliver a batch.
    ///
    /// # Panics
    /// When `init` was not called before, which the contract rules out.
    pub fn write(&self, source: &str, columns: &types::Batch, ordinals: &[u32]) -> Vec<types::Reject> {
        let mut slot = self.0.borrow_mut();
        assert!(slot.is_some(), "the contract wants init before write");
        let mut rejects = Rejects::default();
        if let Some(plugin) = slot.as_mut() {
            plugin.write_batch(&Delivery { batch: Batch::new(columns, 0), source, ordinals }, &mut rejects);
        }
        rejects.finish()
    }
}

/// Makes a [`Sink`](crate::Sink) the plugin of this crate, which has to be a `cdylib`.
#[macro_export]
macro_rules! export_sink {
    ($plugin:ty) => {
        /// Twice in a module, it says by its name what is wrong; elsewhere the linker does.
        const _A_CRATE_EXPORTS_ONE_PLUGIN: () = ();

        const _: () = {
            use $crate::bindings::sink::exports::weir::plugin::delivery;
            use $crate::bindings::types;

            ::std::thread_local! {
                static SLOT: $crate::sink::Slot<$plugin> = const { $crate::sink::Slot::empty() };
            }

            struct Exported;

            /// Names what only a guest calls, so that a native build does not take the plugin for dead code.
            const _: fn(
                <$plugin as $crate::Sink>::Config,
                &$crate::Context,
            ) -> ::std::result::Result<$plugin, $crate::ConfigError> = <$plugin as $crate::Sink>::new;

            impl delivery::Guest for Exported {
                fn init(
                    config: ::std::string::String,
                    context: types::Context,
                ) -> ::std::result::Result<(), types::ConfigError> {
                    SLOT.with(|slot| slot.init(&config, &context))
                }

                fn write(
                    source: ::std::string::String,
                    batch: types::Batch,
                    ordinals: ::std::vec::Vec<u32>,
                ) -> ::std::vec::Vec<types::Reject> {
                    SLOT.with(|slot| slot.write(&source, &batch, &ordinals))
                }
            }

            #[cfg(target_family = "wasm")]
    $crate::bindings::sink::export!(Exported with_types_in $crate::bindings::sink);
        };
    };
}
