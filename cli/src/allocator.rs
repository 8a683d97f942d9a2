//! How the system's allocator treats the memory of batches.

/// Let freed batches stay with the process, up to 8 MiB of each of the allocator's heaps.
///
/// A batch is allocated by one thread and freed by another, again and again. glibc gives the top of a heap back to the kernel
/// once it has 128 KiB there, and asks for the same pages, zeroed, for the next batch: half of the CPU time of an agent between
/// sockets and memory. The limit grows by itself with the largest block that was ever freed (mallopt(3),
/// `M_MMAP_THRESHOLD`), so one is freed; none of its pages was ever touched. Other allocators do nothing with it.
pub(crate) fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST_BLOCK)));
}

/// Twice as much may stay at the top of a heap.
const LARGEST_BLOCK: usize = 4 << 20;
