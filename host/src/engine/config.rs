//! The settings of the wasm engine, each with its reason.

use std::path::PathBuf;
use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::engine::error::EngineError;
use crate::engine::offered::Offered;

const MIB: usize = 1024 * 1024;
const GIB: u64 = 1024 * 1024 * 1024;

/// Stack of guest code. 2 MiB: an interpreter in wasm takes some 1.3 KiB for each frame of its
/// program, and programs recurse by the thousand. The engine has one such bound for all its guests.
const WASM_STACK_BYTES: usize = 2 * MIB;

/// Stack of the fiber that runs a guest and the host calls it makes. 8 MiB leaves the host 6 MiB:
/// what SQLite may need ([`stockade_vfs::heap::STACK_BYTES_NEEDED`]), and its callers. An overflow
/// of the host's share kills the process. Untouched stack costs address space alone; touched pages
/// are an actor's until it sleeps.
const FIBER_STACK_BYTES: usize = 8 * MIB;

/// Bytes of a stack that stay resident when its actor sleeps. 64 KiB: ordinary calls touch 40;
/// giving back a page that was touched interrupts every other core, at each end of a generation.
/// The rest goes back to the system, or one deep recursion of each actor would stay in memory
/// without end.
const STACK_BYTES_KEPT: usize = 64 * 1024;
const _: () =
    assert!(FIBER_STACK_BYTES - WASM_STACK_BYTES > stockade_vfs::heap::STACK_BYTES_NEEDED);

/// Linear memories of one instance. 4: a component made of several has one each.
pub(crate) const MEMORIES_MAX: u32 = 4;

/// Tables of one instance. 16: a module and its adapters have two or three.
const TABLES_MAX: u32 = 16;

/// Core instances of one component. 64: a component of `cargo component` has four.
const CORE_INSTANCES_MAX: u32 = 64;

/// Bytes of the engine's own data for one instance. 4 MiB: grows with functions and imports.
const INSTANCE_BYTES_MAX: usize = 4 * MIB;

/// Address space behind a memory without a pool, for its growth. 1 MiB: the engine's default is 2
/// GiB.
const GROWTH_BYTES: u64 = 1 << 20;

/// The settings of a host's engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where compiled code is kept; `None` compiles at every start. Must be private.
    pub cache_dir: Option<PathBuf>,
    /// How often the epoch moves: the grain of every deadline of a guest.
    pub epoch_tick: Duration,
    /// Actors that may be awake at the same time; lowered to what the system's memory maps allow,
    /// see [`Engine::awake`](crate::engine::Engine::awake). The pool adds some room for instances
    /// that are on their way out.
    pub instances_max: u32,
    /// The largest linear memory that any kind may ask for, in bytes.
    pub memory_bytes_max: u64,
    /// The largest table that any kind may ask for, in elements.
    pub table_elements_max: u64,
    /// The largest component, in bytes.
    pub component_bytes_max: u64,
    /// The interfaces that components may import.
    pub offered: Offered,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let host = crate::limits::HostLimits::default();
        let kind = crate::limits::Limits::default();
        Self {
            cache_dir: None,
            epoch_tick: host.epoch_tick,
            instances_max: 1_000,
            memory_bytes_max: kind.memory_bytes_max,
            table_elements_max: kind.table_elements_max,
            component_bytes_max: host.component_bytes_max,
            offered: Offered::all(),
        }
    }
}

/// Where instances get their linear memory; the first that this machine can make.
///
/// Measured with 21,266 slots of 128 MiB memory, a 165 KB guest, and a loop of loads and stores:
///
/// | | loop, CPU | code | page tables each | address space | made in |
/// |---|---|---|---|---|---|
/// | wide | 89 ms | 487 KiB | 15.2 KiB | 84 TiB | 80-180 ms |
/// | narrow | 98-103 ms | 560 KiB | 11.7 KiB | 2.7 TiB | 40-70 ms |
/// | on demand | 98-104 ms | 603 KiB | 10.1 KiB | with each instance | - |
///
/// Wide is 10 % faster where guests touch memory, for 3.5 KiB of page tables an actor; reserved
/// address space costs nothing until it is touched. 128 TiB are all there is, so a second wide
/// host of this size in one process gets a narrow pool. Both pools take two memory maps for each
/// slot when they are made (the guard pages of the stacks): a process with several hosts gives
/// each a small `instances_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// A pool of 4 GiB slots: guest code needs no bounds checks.
    Wide {
        /// Number of slots.
        slots: u32,
    },
    /// A pool of slots of the largest memory: guest code checks bounds against a constant.
    Narrow {
        /// Number of slots.
        slots: u32,
    },
    /// Each instance maps its memory when it is made.
    OnDemand,
}

/// The engine with the best pool that this machine can make for `instances` at the same time.
pub(super) fn build(
    config: &EngineConfig,
    instances: u32,
) -> Result<(wasmtime::Engine, Pool), EngineError> {
    // Instances that end still hold their slot while the next generation starts. Few, since
    // every slot takes memory maps.
    let slots = instances.saturating_add(instances / 64).saturating_add(16);
    let choices = [Pool::Wide { slots }, Pool::Narrow { slots }, Pool::OnDemand];
    let mut reason = String::new();
    for pool in choices {
        match wasmtime::Engine::new(&settings(config, pool)) {
            Ok(engine) => return Ok((engine, pool)),
            Err(error) => {
                tracing::debug!(?pool, %error, "this pool of instances cannot be made");
                reason = format!("{error:#}");
            }
        }
    }
    Err(EngineError::Settings { reason })
}

pub(super) fn settings(config: &EngineConfig, pool: Pool) -> Config {
    let mut settings = Config::new();
    settings
        .wasm_component_model(true)
        // No WASI 0.3 guests: host calls cost 40 % less, and exports 70 %.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        // Without images: one memory map less for each actor, and a faster first call.
        .memory_init_cow(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // Proposals that no actor needs are code that no actor can attack.
        .wasm_relaxed_simd(false)
        .wasm_memory64(false);
    match pool {
        Pool::Wide { slots } => {
            settings.memory_reservation(4 * GIB);
            settings.allocation_strategy(pooling(config, slots));
        }
        Pool::Narrow { slots } => {
            let page = 64 * 1024;
            settings.memory_reservation(config.memory_bytes_max.next_multiple_of(page));
            settings.memory_guard_size(page);
            settings.allocation_strategy(pooling(config, slots));
        }
        Pool::OnDemand => {
            // Memory is mapped at its size and a little more, so that it is not moved with each
            // page that it grows by.
            settings
                .memory_reservation(0)
                .memory_reservation_for_growth(GROWTH_BYTES)
                .memory_guard_size(0)
                .guard_before_linear_memory(false);
        }
    }
    settings
}

fn pooling(config: &EngineConfig, slots: u32) -> InstanceAllocationStrategy {
    let memory_bytes_max = config.memory_bytes_max.min(4 * GIB);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(8))
        .total_memories(slots)
        .total_tables(slots.saturating_mul(4))
        // Each live store keeps a stack, so fewer would fail at instantiation.
        .total_stacks(slots)
        .async_stack_keep_resident(STACK_BYTES_KEPT)
        .max_memory_size(usize::try_from(memory_bytes_max).unwrap_or(usize::MAX))
        .table_elements(usize::try_from(config.table_elements_max).unwrap_or(usize::MAX))
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_component_instance_size(INSTANCE_BYTES_MAX)
        .max_core_instance_size(INSTANCE_BYTES_MAX);
    InstanceAllocationStrategy::Pooling(pool)
}
