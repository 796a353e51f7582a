//! Words for the operator, in the appliance's log under the name of the step.
//!
//! The host limits how much a plugin may say and cuts a message at 4 KiB.

pub use crate::bindings::log::Level;

/// Writes a message; the macros [`error!`](crate::error), [`warn!`](crate::warn), [`info!`](crate::info) and
/// [`debug!`](crate::debug) format one.
pub fn write(level: Level, message: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::log::write(level, message);
    #[cfg(not(target_family = "wasm"))]
    crate::testing::capture(level, message);
}

/// Makes a panic say why, before it traps: the trap itself carries no words.
pub(crate) fn panics() {
    #[cfg(target_family = "wasm")]
    std::panic::set_hook(Box::new(|panic| write(Level::Error, &panic.to_string())));
}

/// Says that something failed which the operator has to know of.
#[macro_export]
macro_rules! error {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Error, &::std::format!($($message)*)) };
}

/// Says that something is wrong and the plugin went on.
#[macro_export]
macro_rules! warn {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Warn, &::std::format!($($message)*)) };
}

/// Says a fact of the plugin's life: it started, it reloaded a table.
#[macro_export]
macro_rules! info {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Info, &::std::format!($($message)*)) };
}

/// Says something to whoever is debugging the plugin.
#[macro_export]
macro_rules! debug {
    ($($message:tt)*) => { $crate::log::write($crate::log::Level::Debug, &::std::format!($($message)*)) };
}
