//! Stops the build with a sentence on a processor that has no file here.

compile_error!("phasebox does not support this processor yet: src/arch has no file for it");
