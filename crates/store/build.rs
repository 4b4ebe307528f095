//! Has the crate built anew when a migration is added: `sqlx::migrate!` embeds the folder, which Cargo does not see.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
