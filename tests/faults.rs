//! `./dev faults`: prints the matrix of `docs/faults.md` with the verdicts in the output of test runs (the files named as
//! arguments), and writes it there.

use std::fs;

use anyhow::{Context, Result};
use empery_tests::{ground, matrix, sources};

fn main() -> Result<()> {
    let mut output = String::new();
    for path in std::env::args().skip(1) {
        output.push_str(&fs::read_to_string(&path).with_context(|| path.clone())?);
    }
    let text = matrix::document(&sources::all()?, &matrix::verdicts(&output))?;
    print!("{text}");
    matrix::write(&ground::tree().join(matrix::DOCUMENT), &text)
}
