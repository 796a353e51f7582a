//! The functions of WASI, as a component asks for them. What nobody can reach without a file or a socket ends the guest that
//! calls it all the same.
#![allow(unsafe_code)] // wasmtime's derives write `unsafe impl`; nothing unsafe is written by hand here.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};
use wasmtime::component::{WasmList, WasmStr};
use wasmtime::{Result, StoreContextMut};

use super::{Handle, NS_PER_MS, READING_NS, WRITE_BYTES_MAX, Wasi, ended, interface};
use crate::plugin::limits::State;

type Store<'a> = StoreContextMut<'a, State>;
type Instance<'a> = LinkerInstance<'a, State>;

/// A resource `input-stream`.
struct InputStream;
/// A resource `output-stream`.
struct OutputStream;
/// A resource `pollable`.
struct Pollable;
/// Any other resource: a file, a socket, a network.
struct Other;

/// Links those functions of WASI that a component imports, under the very versions that it imports.
pub(in crate::plugin) fn link(
    linker: &mut Linker<State>,
    engine: &wasmtime::Engine,
    component: &Component,
) -> Result<()> {
    for (import, item) in component.component_type().imports(engine) {
        let (Some(interface), ComponentItem::ComponentInstance(wanted)) = (interface(import), item.ty) else {
            continue;
        };
        let mut instance = linker.instance(import)?;
        for (name, item) in wanted.exports(engine) {
            match item.ty {
                ComponentItem::Resource(_) => link_resource(&mut instance, name)?,
                ComponentItem::ComponentFunc(_) if !link_function(&mut instance, interface, name)? => {
                    refuse(&mut instance, interface, name)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn link_resource(instance: &mut Instance<'_>, name: &str) -> Result<()> {
    let ty = match name {
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "pollable" => ResourceType::host::<Pollable>(),
        _ => ResourceType::host::<Other>(),
    };
    instance.resource(name, ty, |mut store, number| {
        wasi(&mut store)?.handles.close(number);
        Ok(())
    })
}

/// Links a function where it is known. Returns whether it is.
fn link_function(instance: &mut Instance<'_>, interface: &str, name: &str) -> Result<bool> {
    match interface {
        "cli/environment" | "cli/exit" => program(instance, name),
        "cli/stdin" | "cli/stdout" | "cli/stderr" => standard_stream(instance, name),
        "cli/terminal-stdin" | "cli/terminal-stdout" | "cli/terminal-stderr" => no_terminal(instance, name),
        "clocks/monotonic-clock" => monotonic_clock(instance, name),
        "clocks/wall-clock" => wall_clock(instance, name),
        "filesystem/preopens" => no_files(instance, name),
        "io/poll" => poll(instance, name),
        "io/streams" if name.starts_with("[method]input-stream.") => input_stream(instance, name),
        "io/streams" => output_stream(instance, name),
        "random/random" | "random/insecure" | "random/insecure-seed" => randomness(instance, name),
        "sockets/instance-network" | "sockets/ip-name-lookup" => no_network(instance, name),
        "sockets/tcp-create-socket" | "sockets/udp-create-socket" => no_sockets(instance, name),
        _ => Ok(false),
    }
}

/// A function that has nothing to work on.
fn refuse(instance: &mut Instance<'_>, interface: &str, name: &str) -> Result<()> {
    let called = format!("it called {name} of wasi:{interface}, which plugins do not have");
    instance.func_new(name, move |_, _, _, _| ended(called.clone()))
}

fn wasi<'a>(store: &'a mut Store<'_>) -> Result<&'a mut Wasi> {
    store.data_mut().wasi.as_deref_mut().map_or_else(|| ended("WASI is not there"), Ok)
}

fn open<T: 'static>(mut store: Store<'_>, handle: Handle) -> Result<(Resource<T>,)> {
    Ok((Resource::new_own(wasi(&mut store)?.handles.open(handle)?),))
}

/// A function that was linked.
fn known(linked: Result<()>) -> Result<bool> {
    linked.map(|()| true)
}

fn program(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    let exits = "it ended itself, which a plugin does not: it answers with rejects";
    known(match name {
        "get-environment" => instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),))),
        "get-arguments" => instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),))),
        "initial-cwd" => instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((None::<String>,))),
        "exit" => instance.func_wrap(name, move |_: Store<'_>, _: (Result<(), ()>,)| ended::<()>(exits)),
        "exit-with-code" => instance.func_wrap(name, move |_: Store<'_>, _: (u8,)| ended::<()>(exits)),
        _ => return Ok(false),
    })
}

fn standard_stream(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "get-stdin" => instance.func_wrap(name, |store: Store<'_>, (): ()| open::<InputStream>(store, Handle::Stdin)),
        "get-stdout" => {
            instance.func_wrap(name, |store: Store<'_>, (): ()| open::<OutputStream>(store, Handle::Stdout))
        }
        "get-stderr" => {
            instance.func_wrap(name, |store: Store<'_>, (): ()| open::<OutputStream>(store, Handle::Stderr))
        }
        _ => return Ok(false),
    })
}

fn no_terminal(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    if !name.starts_with("get-terminal-") {
        return Ok(false);
    }
    known(instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((None::<Resource<Other>>,))))
}

fn monotonic_clock(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "now" => instance.func_wrap(name, |mut store: Store<'_>, (): ()| Ok((wasi(&mut store)?.clock.read(),))),
        "resolution" => instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((READING_NS,))),
        "subscribe-instant" => {
            instance.func_wrap(name, |store: Store<'_>, (when,): (u64,)| open::<Pollable>(store, Handle::At(when)))
        }
        "subscribe-duration" => instance.func_wrap(name, |mut store: Store<'_>, (long,): (u64,)| {
            let when = wasi(&mut store)?.clock.monotonic_ns.saturating_add(long);
            open::<Pollable>(store, Handle::At(when))
        }),
        _ => return Ok(false),
    })
}

/// A `datetime`.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl Datetime {
    fn of_ms(ms: u64) -> Self {
        Datetime { seconds: ms / 1_000, nanoseconds: (ms % 1_000 * NS_PER_MS) as u32 }
    }
}

fn wall_clock(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "now" => instance
            .func_wrap(name, |mut store: Store<'_>, (): ()| Ok((Datetime::of_ms(wasi(&mut store)?.clock.wall_ms),))),
        "resolution" => instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((Datetime::of_ms(1),))),
        _ => return Ok(false),
    })
}

fn no_files(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    if name != "get-directories" {
        return Ok(false);
    }
    known(instance.func_wrap(name, |_: Store<'_>, (): ()| Ok((Vec::<(Resource<Other>, String)>::new(),))))
}

/// When a pollable is ready. Streams are ready at once: what can be read or written is known.
fn deadline(wasi: &Wasi, pollable: &Resource<Pollable>) -> Result<u64> {
    Ok(match wasi.handles.get(pollable.rep())? {
        Handle::At(when) => when,
        _ => 0,
    })
}

fn poll(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "[method]pollable.ready" => {
            instance.func_wrap(name, |mut store: Store<'_>, (pollable,): (Resource<Pollable>,)| {
                let wasi = wasi(&mut store)?;
                Ok((deadline(wasi, &pollable)? <= wasi.clock.read(),))
            })
        }
        "[method]pollable.block" => {
            instance.func_wrap(name, |mut store: Store<'_>, (pollable,): (Resource<Pollable>,)| {
                let wasi = wasi(&mut store)?;
                let when = deadline(wasi, &pollable)?;
                wasi.clock.wait_until(when);
                Ok(())
            })
        }
        "poll" => instance.func_wrap(name, |mut store: Store<'_>, (pollables,): (Vec<Resource<Pollable>>,)| {
            Ok((poll_all(wasi(&mut store)?, &pollables)?,))
        }),
        _ => return Ok(false),
    })
}

/// Which are ready, once time has passed until the first is.
fn poll_all(wasi: &mut Wasi, pollables: &[Resource<Pollable>]) -> Result<Vec<u32>> {
    let deadlines = pollables.iter().map(|pollable| deadline(wasi, pollable)).collect::<Result<Vec<_>>>()?;
    let Some(first) = deadlines.iter().min() else {
        return ended("it polls nothing, which would never end");
    };
    wasi.clock.wait_until(*first);
    let now = wasi.clock.monotonic_ns;
    Ok((0..).zip(deadlines).filter(|(_, when)| *when <= now).map(|(place, _)| place).collect())
}

/// A `stream-error`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "part of the type; streams that do nothing do not fail")]
    Failed(Resource<Other>),
    #[component(name = "closed")]
    Closed,
}

type Streamed<T> = (Result<T, StreamError>,);

fn input_stream(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    type Params = (Resource<InputStream>, u64);
    known(match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => instance
            .func_wrap(name, |_: Store<'_>, _: Params| -> Result<Streamed<Vec<u8>>> {
                Ok((Err(StreamError::Closed),))
            }),
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => instance
            .func_wrap(name, |_: Store<'_>, _: Params| -> Result<Streamed<u64>> { Ok((Err(StreamError::Closed),)) }),
        "[method]input-stream.subscribe" => instance
            .func_wrap(name, |store: Store<'_>, _: (Resource<InputStream>,)| open::<Pollable>(store, Handle::At(0))),
        _ => return Ok(false),
    })
}

fn output_stream(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "[method]output-stream.check-write" => instance
            .func_wrap(name, |_: Store<'_>, _: (Resource<OutputStream>,)| -> Result<Streamed<u64>> {
                Ok((Ok(WRITE_BYTES_MAX as u64),))
            }),
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => instance
            .func_wrap(name, |store: Store<'_>, (stream, bytes): (Resource<OutputStream>, WasmList<u8>)| {
                write(store, &stream, &bytes)
            }),
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => instance
            .func_wrap(name, |_: Store<'_>, _: (Resource<OutputStream>,)| -> Result<Streamed<()>> { Ok((Ok(()),)) }),
        // Zeroes are nothing that a log could show.
        "[method]output-stream.write-zeroes" | "[method]output-stream.blocking-write-zeroes-and-flush" => instance
            .func_wrap(name, |_: Store<'_>, _: (Resource<OutputStream>, u64)| -> Result<Streamed<()>> {
                Ok((Ok(()),))
            }),
        "[method]output-stream.splice" | "[method]output-stream.blocking-splice" => {
            type Params = (Resource<OutputStream>, Resource<InputStream>, u64);
            instance
                .func_wrap(name, |_: Store<'_>, _: Params| -> Result<Streamed<u64>> { Ok((Err(StreamError::Closed),)) })
        }
        "[method]output-stream.subscribe" => instance
            .func_wrap(name, |store: Store<'_>, _: (Resource<OutputStream>,)| open::<Pollable>(store, Handle::At(0))),
        _ => return Ok(false),
    })
}

fn write(mut store: Store<'_>, stream: &Resource<OutputStream>, bytes: &WasmList<u8>) -> Result<Streamed<()>> {
    let length = bytes.len();
    if length > WRITE_BYTES_MAX {
        return ended(format!("it wrote {length} bytes at once to a stream that takes {WRITE_BYTES_MAX}"));
    }
    let bytes = bytes.as_le_slice(&store).to_vec();
    let wasi = wasi(&mut store)?;
    match wasi.handles.get(stream.rep())? {
        Handle::Stderr => wasi.stderr.write(&bytes),
        _ => wasi.stdout.write(&bytes),
    }
    Ok((Ok(()),))
}

fn randomness(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "get-random-bytes" | "get-insecure-random-bytes" => instance
            .func_wrap(name, |mut store: Store<'_>, (count,): (u64,)| Ok((wasi(&mut store)?.chance.bytes(count)?,))),
        "get-random-u64" | "get-insecure-random-u64" => {
            instance.func_wrap(name, |mut store: Store<'_>, (): ()| Ok((wasi(&mut store)?.chance.number(),)))
        }
        "insecure-seed" => instance.func_wrap(name, |mut store: Store<'_>, (): ()| {
            let chance = &mut wasi(&mut store)?.chance;
            Ok(((chance.number(), chance.number()),))
        }),
        _ => return Ok(false),
    })
}

/// An `error-code` of sockets.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "part of the type; one of them is used")]
enum NetworkError {
    #[component(name = "unknown")]
    Unknown,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "not-supported")]
    NotSupported,
    #[component(name = "invalid-argument")]
    InvalidArgument,
    #[component(name = "out-of-memory")]
    OutOfMemory,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "concurrency-conflict")]
    ConcurrencyConflict,
    #[component(name = "not-in-progress")]
    NotInProgress,
    #[component(name = "would-block")]
    WouldBlock,
    #[component(name = "invalid-state")]
    InvalidState,
    #[component(name = "new-socket-limit")]
    NewSocketLimit,
    #[component(name = "address-not-bindable")]
    AddressNotBindable,
    #[component(name = "address-in-use")]
    AddressInUse,
    #[component(name = "remote-unreachable")]
    RemoteUnreachable,
    #[component(name = "connection-refused")]
    ConnectionRefused,
    #[component(name = "connection-reset")]
    ConnectionReset,
    #[component(name = "connection-aborted")]
    ConnectionAborted,
    #[component(name = "datagram-too-large")]
    DatagramTooLarge,
    #[component(name = "name-unresolvable")]
    NameUnresolvable,
    #[component(name = "temporary-resolver-failure")]
    TemporaryResolverFailure,
    #[component(name = "permanent-resolver-failure")]
    PermanentResolverFailure,
}

/// An `ip-address-family`.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "made by wasmtime alone, and refused whichever it is")]
enum Family {
    #[component(name = "ipv4")]
    V4,
    #[component(name = "ipv6")]
    V6,
}

type Connected = (Result<Resource<Other>, NetworkError>,);

fn no_network(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    known(match name {
        "instance-network" => {
            instance.func_wrap(name, |store: Store<'_>, (): ()| open::<Other>(store, Handle::Network))
        }
        "resolve-addresses" => {
            instance.func_wrap(name, |_: Store<'_>, _: (Resource<Other>, WasmStr)| -> Result<Connected> {
                Ok((Err(NetworkError::AccessDenied),))
            })
        }
        _ => return Ok(false),
    })
}

fn no_sockets(instance: &mut Instance<'_>, name: &str) -> Result<bool> {
    if !matches!(name, "create-tcp-socket" | "create-udp-socket") {
        return Ok(false);
    }
    known(instance.func_wrap(name, |_: Store<'_>, (_,): (Family,)| -> Result<Connected> {
        Ok((Err(NetworkError::AccessDenied),))
    }))
}
