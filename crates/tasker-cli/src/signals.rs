//! Ctrl-C, SIGTERM and the end of the terminal (SIGHUP): the first asks for an orderly end, the second leaves at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancels `stop` at the first signal. Ends at the second, or at the first where nothing has to be put in order. The end of the
/// terminal, which some tell twice, is a first signal only; under `nohup` it is none.
pub async fn watch(stop: CancellationToken, is_patient: bool) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let [Ok(mut interrupt), Ok(mut terminate)] = kinds.map(signal) else {
        tracing::warn!("signals cannot be received: an interrupted run is not ended in order");
        return std::future::pending().await;
    };
    let mut hangup = if ignores_hangup() { None } else { signal(SignalKind::hangup()).ok() };
    for is_first in [true, false] {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) if is_first || !is_patient => hangup.recv().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hung_up => {}
        }
        stop.cancel();
        if !is_patient {
            return;
        }
    }
}

/// Whether somebody (`nohup`) has seen to it that the end of the terminal is not told.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}
