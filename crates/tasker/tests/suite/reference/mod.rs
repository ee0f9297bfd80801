//! A second engine, written plainly, and the first compared with it: random graphs live through random histories, and after each
//! round every view must say of every task and step what the rules say of (graph, history, clock).
//!
//! A case is one task after one round: all its rows in all views. `TASKER_TEST_CASES` says how many (a million takes some 20 minutes), and
//! `TASKER_TEST_SEED` where they begin; a failure prints its seed, and those that once failed are run for ever.

mod rules;
mod vectors;
mod views;
mod world;

use crate::support::{Chance, cases as all_cases, seed, with_database};
use world::Game;

/// Seeds that found something.
const KEPT: &[u64] = &[2_000_026];
/// And hostile games that did.
const KEPT_HOSTILE: &[u64] = &[920_329_132_800_015];
/// Cases in every run of the suite, over all of the programs below.
const CASES: usize = 100_000;
/// Over how many tests they are spread, so that all processors have some.
const SHARES: usize = 4;

/// Plays games until so many cases have been compared.
fn play(share: u64, cases: usize, is_hostile: bool) {
    let seed = seed();
    with_database(async |db| {
        world::prepare(db).await;
        let (mut compared, mut seen) = (0, world::Seen::default());
        let fresh = (0..).map(|game| seed * 1_000_000 + share * 200_000 + game);
        let kept = if is_hostile {
            KEPT_HOSTILE
        } else if share == 0 {
            KEPT
        } else {
            &[]
        };
        for seed in kept.iter().copied().chain(fresh) {
            let mut game = Game::begin(db, Chance::mixed(seed), is_hostile, seed % 2 == 1).await;
            compared += game.play(&mut seen).await.unwrap_or_else(|what| panic!("game {seed}: {what}"));
            if compared >= cases {
                break;
            }
        }
        println!("{compared} cases; {seen:?}");
        seen.check(compared);
    });
}

fn random_histories(share: u64) {
    play(share, all_cases(CASES) / SHARES, false);
}

/// Replies get lost, the clock goes back, and after everything that happens every promise is asked about; then nothing goes wrong any more,
/// and every task ends.
#[test]
fn whatever_goes_wrong_the_promises_hold_and_every_task_ends() {
    play(SHARES as u64, all_cases(CASES) / 60, true);
}

#[test]
fn random_histories_agree_with_the_rules_1() {
    random_histories(0);
}

#[test]
fn random_histories_agree_with_the_rules_2() {
    random_histories(1);
}

#[test]
fn random_histories_agree_with_the_rules_3() {
    random_histories(2);
}

#[test]
fn random_histories_agree_with_the_rules_4() {
    random_histories(3);
}
