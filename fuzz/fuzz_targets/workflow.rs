//! Any bytes are a workflow, or are refused with reasons that stand in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker::workflow::Definition;

fuzz_target!(|bytes: &[u8]| {
    match Definition::from_yaml("fuzz.yaml", bytes, None, &["shop.orders.charge"]) {
        Ok(definition) => {
            // what is valid can be written, read, and is the same
            assert_eq!(definition.levels().len(), definition.steps.len());
            let text = serde_json::to_string(&definition).unwrap();
            assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), definition);
        }
        Err(refused) => {
            assert!(!refused.problems.is_empty());
            let lines = String::from_utf8_lossy(bytes).split(['\n', '\r']).count() as u32;
            for problem in &refused.problems {
                assert!(problem.position.is_none_or(|(line, column)| line >= 1 && line <= lines + 1 && column >= 1), "{problem}");
            }
        }
    }
});
