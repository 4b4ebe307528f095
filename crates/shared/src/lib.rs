//! What lies in the memory that the workers of a vassal share (`cache2`, `queue`): its layout and what is done with it.
//!
//! Nothing here maps memory, waits for a lock or asks a clock: [`memory::Memory`] is the memory, whoever has it has the
//! lock of it, and the caller says what time it is. A process can be killed between any two stores, and an app can write
//! anything anywhere: what is found is checked before it is believed, and what is torn is made anew from what is whole.

pub mod cache;
pub mod memory;
pub mod queue;
