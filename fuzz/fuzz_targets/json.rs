//! What the validator lets through can be read, is within the limits, and is let through again; any message can be stored.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tasker::json;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(checked) = json::check(&text) {
        let value: serde_json::Value = serde_json::from_str(checked.get()).expect("it can be read");
        assert!(json::check(checked.get()).is_ok_and(|again| again.get() == checked.get()));
        assert!(!checked.get().contains("\\u0000"));
        let _ = json::encode(&value);
    }
    let cleaned = json::clean(&text, 1000);
    assert!(cleaned.len() <= 1000 && !cleaned.contains('\0'));
    assert_eq!(json::clean(&cleaned, 1000), cleaned);
});
