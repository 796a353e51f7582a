//! The `weir` command. All that it does is in the library.

use std::io::Write;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let code = weir::cli::main();
    // Nobody is left to tell if there is no place to write to.
    let _ = std::io::stdout().flush();
    // Not by way of `exit`, which has OpenSSL free what librdkafka's threads may still be using: they end when their
    // brokers let them, and one process in some thousand was killed by a signal there, after all its work.
    // SAFETY: `_exit` has no condition; nothing of this program waits for an exit handler.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code.into())
    }
}
