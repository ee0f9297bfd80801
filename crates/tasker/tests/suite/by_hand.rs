//! What people do: retry, resolve, cancel, pause, resume, edit an input, change a limit.

use expect_test::expect;

use crate::support::{Play, Rule, rules, with_database};

rules! {
    // Retry.
    a_dead_step_begins_anew_with_its_attempts_on_top: "a, b", "a:fatal a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready                       1/4 attempts
        b     pending           ready
    "#]];
    an_exhausted_step_begins_anew: "a[attempts=2], b", "a:failed +1s a:failed a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready                       2/4 attempts
        b     pending           ready
    "#]];
    a_retried_step_can_be_exhausted_again: "a[attempts=1], b", "a:failed a:retry a:failed a:retry a:failed" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           3/3 attempts
        b     pending           ready
    "#]];
    a_retry_revives_a_failed_task_where_it_stood: "a, b > c", "b:complete a:fatal a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 33% healthy
        a     pending           ready                       1/4 attempts
        b     complete          finished                    1/3 attempts
        c     pending           dependencies_not_satisfied  1/2 parents
    "#]];
    c30_a_retry_by_hand_overrides_the_backoff: "a", "a:asked(1h) a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            ready                       1/3 attempts
    "#]];
    a_step_that_waits_for_its_retry_is_due_now_and_nothing_else: "a[attempts=2], b", "a:failed a:retry a:failed" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           2/2 attempts
        b     pending           ready
    "#]];
    a_cancelled_step_can_be_retried: "a, b > c", "a:cancel a:retry" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
        b     pending           ready
        c     pending           dependencies_not_satisfied  0/2 parents
    "#]];
    a_retry_of_a_cancelled_step_revives_its_task: "a", "a:cancel a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
    "#]];
    what_is_not_dead_has_nothing_to_retry: "a, b, c, d > e",
        "a:retry!nothing_to_retry b:in_progress b:retry!nothing_to_retry c:complete c:retry!nothing_to_retry d:waits(1h) d:retry!nothing_to_retry e:retry!nothing_to_retry"
        => expect![[r#"
            task  in_progress has_ready_steps execute_ready_steps 20% healthy
            a     pending           ready
            b     in_progress       in_progress                 1/3 attempts
            c     complete          finished                    1/3 attempts
            d     pending           scheduled_for_later         in 3600 s
            e     pending           dependencies_not_satisfied  1/4 parents
        "#]];
    a_retried_task_begins_all_its_dead_steps_anew: "a, b, c, d > e",
        "a:fatal b:cancel c:failed d:complete e:cancel task:retry" => expect![[r#"
            task  in_progress has_ready_steps execute_ready_steps 20% recovering
            a     pending           ready                       1/4 attempts
            b     pending           ready
            c     failed            waiting_for_retry           1/3 attempts
            d     complete          finished                    1/3 attempts
            e     pending           dependencies_not_satisfied  1/4 parents
        "#]];
    a_task_without_dead_steps_has_nothing_to_retry: "a, b", "a:failed task:retry!nothing_to_retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            waiting_for_retry           1/3 attempts
        b     pending           ready
    "#]];
    a_cancelled_task_is_not_retried: "a", "task:cancel task:retry!task_not_live a:retry!task_not_live" => expect![[r#"
        task  cancelled cancelled none 0% unknown
        a     cancelled         finished
    "#]];
    a_retry_removes_a_deadline_that_has_passed: "a", "submit(deadline=1h) +1h reap a:retry +1d reap" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
    "#]];
    a_retry_restores_a_deadline_that_has_not: "a", "submit(deadline=1h) a:fatal +10m a:retry +50m reap" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable               1/4 attempts
    "#]];
    a_retry_is_refused_while_another_task_holds_the_key: "a",
        "submit(unique=k) a:fatal submit(unique=k) 1.a:retry!unique_key_in_use 1.task:retry!unique_key_in_use" => expect![[r#"
            1.task  failed blocked_by_failures handle_failures 0% blocked
            1.a   failed            not_retryable               1/3 attempts
            2.task  pending has_ready_steps execute_ready_steps 0% healthy
            2.a   pending           ready
        "#]];
    a_revived_task_holds_its_key_again: "a", "submit(unique=k) a:fatal a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready                       1/4 attempts
    "#]];
    a_retry_in_a_paused_task_waits_for_its_resumption: "a, b", "a:fatal task:pause a:retry" => expect![[r#"
        task  in_progress (paused) paused resume_task 0% healthy
        a     pending           task_paused                 1/4 attempts
        b     pending           task_paused
    "#]];

    // Resolve.
    a_resolved_step_satisfies_its_children: "a > b", "a:resolve" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 50% healthy
        a     resolved_manually finished
        b     pending           ready
    "#]];
    a_step_can_be_resolved_from_pending_failed_and_cancelled: "a, b, c > d", "b:failed c:cancel a:resolve b:resolve c:resolve" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 75% healthy
        a     resolved_manually finished
        b     resolved_manually finished                    1/3 attempts
        c     resolved_manually finished
        d     pending           ready
    "#]];
    a_resolved_leaf_completes_its_task: "a", "a:resolve" => expect![[r#"
        task  complete all_complete none 100% healthy
        a     resolved_manually finished
    "#]];
    resolving_the_culprit_revives_a_failed_task: "a > b", "a:fatal a:resolve" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 50% healthy
        a     resolved_manually finished                    1/3 attempts
        b     pending           ready
    "#]];
    resolving_the_last_leaf_completes_a_failed_task: "a", "a:fatal a:resolve" => expect![[r#"
        task  complete all_complete none 100% healthy
        a     resolved_manually finished                    1/3 attempts
    "#]];
    a_step_is_not_resolved_before_its_parents: "a, b > c", "a:complete c:resolve!dependencies_not_satisfied" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 33% healthy
        a     complete          finished                    1/3 attempts
        b     pending           ready
        c     pending           dependencies_not_satisfied  1/2 parents
    "#]];
    a_running_step_is_not_resolved: "a", "a:in_progress a:resolve!step_in_progress" => expect![[r#"
        task  in_progress processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 1/3 attempts
    "#]];
    what_satisfied_is_final: "a, b, c > d",
        "a:complete b:skipped c:resolve a:resolve!step_is_finished b:cancel!step_is_finished c:resolve!step_is_finished c:cancel!step_is_finished" => expect![[r#"
            task  in_progress has_ready_steps execute_ready_steps 75% healthy
            a     complete          finished                    1/3 attempts
            b     skipped           finished                    1/3 attempts
            c     resolved_manually finished
            d     pending           ready
        "#]];
    a_step_of_a_cancelled_task_is_not_resolved: "a", "task:cancel a:resolve!task_not_live" => expect![[r#"
        task  cancelled cancelled none 0% unknown
        a     cancelled         finished
    "#]];
    resolving_in_a_paused_task_starts_nothing: "a > b", "task:pause a:resolve" => expect![[r#"
        task  pending (paused) paused resume_task 50% healthy
        a     resolved_manually finished
        b     pending           task_paused
    "#]];
    a_resolved_task_cancels_what_is_unfinished: "a, b, c > d", "a:complete b:in_progress c:fatal task:resolve b:complete!cancelled" => expect![[r#"
        task  resolved_manually resolved_manually none 25% unknown
        a     complete          finished                    1/3 attempts
        b     cancelled         finished                    1/3 attempts
        c     cancelled         finished                    1/3 attempts
        d     cancelled         finished                    1/3 parents
    "#]];
    a_failed_task_can_be_resolved: "a > b", "a:fatal task:resolve" => expect![[r#"
        task  resolved_manually resolved_manually none 0% unknown
        a     cancelled         finished                    1/3 attempts
        b     cancelled         finished                    0/1 parents
    "#]];
    a_task_that_is_over_is_not_resolved: "a", "a:complete task:resolve!task_is_finished" => expect![[r#"
        task  complete all_complete none 100% healthy
        a     complete          finished                    1/3 attempts
    "#]];

    // Cancel.
    a_cancelled_running_step_keeps_no_result: "a, b > c", "a:in_progress a:cancel a:complete!cancelled" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     cancelled         finished                    1/3 attempts
        b     pending           ready
        c     pending           dependencies_not_satisfied  0/2 parents
    "#]];
    a_cancelled_tasks_running_step_keeps_no_result: "a, b > c", "b:complete a:in_progress task:cancel a:complete!cancelled" => expect![[r#"
        task  cancelled cancelled none 33% unknown
        a     cancelled         finished                    1/3 attempts
        b     complete          finished                    1/3 attempts
        c     cancelled         finished                    1/2 parents
    "#]];
    cancelling_twice_is_cancelling_once: "a, b", "a:cancel a:cancel task:cancel task:cancel" => expect![[r#"
        task  cancelled cancelled none 0% unknown
        a     cancelled         finished
        b     cancelled         finished
    "#]];
    cancelling_the_last_open_step_fails_the_task: "a, b > c", "a:complete b:cancel" => expect![[r#"
        task  failed blocked_by_failures handle_failures 33% blocked
        a     complete          finished                    1/3 attempts
        b     cancelled         finished
        c     pending           dependencies_not_satisfied  1/2 parents
    "#]];
    a_failed_task_can_be_cancelled: "a > b", "a:fatal task:cancel" => expect![[r#"
        task  cancelled cancelled none 0% unknown
        a     cancelled         finished                    1/3 attempts
        b     cancelled         finished                    0/1 parents
    "#]];
    a_complete_task_cannot: "a", "a:complete task:cancel!task_is_finished a:cancel!step_is_finished" => expect![[r#"
        task  complete all_complete none 100% healthy
        a     complete          finished                    1/3 attempts
    "#]];
    a_step_of_a_failed_task_is_not_cancelled: "a > b", "a:fatal b:cancel!task_not_live" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable               1/3 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    a_step_that_waits_can_be_cancelled: "a, b, c", "a:failed b:waits(1h) a:cancel b:cancel" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     cancelled         finished                    1/3 attempts
        b     cancelled         finished
        c     pending           ready
    "#]];

    // Pause and resume.
    a_paused_task_starts_nothing_and_keeps_what_runs: "a, b > c", "a:in_progress task:pause a:complete b:in_progress!not_claimed" => expect![[r#"
        task  in_progress (paused) paused resume_task 33% healthy
        a     complete          finished                    1/3 attempts
        b     pending           task_paused
        c     pending           dependencies_not_satisfied  1/2 parents
    "#]];
    a_paused_tasks_last_step_can_complete_it: "a", "a:in_progress task:pause a:complete" => expect![[r#"
        task  complete (paused) all_complete none 100% healthy
        a     complete          finished                    1/3 attempts
    "#]];
    a_paused_task_does_not_fail_until_it_is_resumed: "a > b", "a:in_progress task:pause a:fatal" => expect![[r#"
        task  in_progress (paused) blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable               1/3 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    a_task_that_is_dead_when_resumed_fails: "a > b", "a:in_progress task:pause a:fatal task:resume" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable               1/3 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    a_paused_tasks_lost_lease_is_reaped: "a, b", "a:in_progress task:pause +1m reap" => expect![[r#"
        task  in_progress (paused) paused resume_task 0% recovering
        a     failed            task_paused                 1/3 attempts
        b     pending           task_paused
    "#]];
    pausing_twice_is_pausing_once: "a", "task:pause task:pause task:resume task:resume" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
    "#]];
    what_has_ended_is_not_paused: "a", "a:complete task:pause!task_not_live task:resume!task_not_live" => expect![[r#"
        task  complete all_complete none 100% healthy
        a     complete          finished                    1/3 attempts
    "#]];
    a_paused_tasks_deadline_is_acted_on: "a > b", "submit(deadline=1h) task:pause +1h reap" => expect![[r#"
        task  pending (paused) blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    a_deadline_once_acted_on_stays_so_when_the_clock_goes_back: "a > b", "submit(deadline=1h) task:pause +1h reap -10m reap" => expect![[r#"
        task  pending (paused) blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];

    // Edit an input.
    an_input_can_be_edited_while_the_step_waits: "a, b > c", "a:failed a:edit b:edit c:edit c:edit" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            waiting_for_retry           1/3 attempts
        b     pending           ready
        c     pending           dependencies_not_satisfied  0/2 parents
    "#]];
    an_edit_does_not_forget_a_retry_or_a_timer: "a, b", "a:asked(10s) a:edit b:waits(1h) b:edit" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts, in 10 s
        b     pending           scheduled_for_later         in 3600 s
    "#]];
    the_input_of_what_runs_or_is_over_cannot_be_edited: "a, b, c > d",
        "a:in_progress a:edit!step_not_waiting b:complete b:edit!step_not_waiting c:cancel c:edit!step_not_waiting" => expect![[r#"
            task  in_progress processing wait_for_completion 25% recovering
            a     in_progress       in_progress                 1/3 attempts
            b     complete          finished                    1/3 attempts
            c     cancelled         finished
            d     pending           dependencies_not_satisfied  1/3 parents
        "#]];
    the_input_of_a_dead_step_can_be_edited_before_its_retry: "a", "a:fatal a:edit a:retry" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready                       1/4 attempts
    "#]];
    an_edit_in_a_paused_task_starts_nothing: "a", "task:pause a:edit a:in_progress!not_claimed" => expect![[r#"
        task  pending (paused) paused resume_task 0% healthy
        a     pending           task_paused
    "#]];

    // Change a limit.
    a_changed_limit_is_carried_from_attempt_to_attempt: "a", "a:limit(7) a:failed +1s a:lost +5m a:in_progress" => expect![[r#"
        task  in_progress processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 3/7 attempts
    "#]];
    a_changed_limit_outlasts_the_end_of_its_step: "a, b, c > d", "a:limit(7) a:complete b:limit(7) b:skipped c:limit(7) c:resolve" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 75% healthy
        a     complete          finished                    1/7 attempts
        b     skipped           finished                    1/7 attempts
        c     resolved_manually finished                    0/7 attempts
        d     pending           ready
    "#]];
    a_raised_limit_makes_an_exhausted_step_due: "a[attempts=1], b", "a:failed a:limit(2)" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            ready                       1/2 attempts
        b     pending           ready
    "#]];
    a_raised_limit_does_not_shorten_a_backoff: "a", "a:asked(1h) a:limit(7)" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/7 attempts, in 3600 s
    "#]];
    a_raised_limit_does_not_mend_what_is_not_retryable: "a, b", "a:fatal a:limit(7)" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            not_retryable               1/7 attempts
        b     pending           ready
    "#]];
    a_limit_is_never_below_the_attempts_counted: "a", "a:failed +1s a:in_progress a:limit(1)!limit_too_low a:limit(0)!limit_too_low a:limit(2)" => expect![[r#"
        task  in_progress processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 2/2 attempts
    "#]];
    a_running_step_at_its_lowered_limit_is_exhausted_by_its_failure: "a, b", "a:in_progress a:limit(1) a:failed" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           1/1 attempts
        b     pending           ready
    "#]];
    a_lowered_limit_can_fail_the_task: "a > b", "a:failed a:limit(1)" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            retries_exhausted           1/1 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    a_timer_out_of_attempts_by_a_lowered_limit_is_dead: "a, b", "a:failed +1s a:waits(1h) a:limit(1)" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           retries_exhausted           1/1 attempts
        b     pending           ready
    "#]];
    the_limit_of_what_is_over_does_not_matter: "a, b", "a:complete a:limit(7)!step_is_finished" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 50% healthy
        a     complete          finished                    1/3 attempts
        b     pending           ready
    "#]];
    the_limit_in_a_failed_task_is_not_changed: "a[attempts=1]", "a:failed a:limit(7)!task_not_live" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            retries_exhausted           1/1 attempts
    "#]];
    a_changed_limit_in_a_paused_task_starts_nothing: "a[attempts=1], b", "a:failed task:pause a:limit(2) a:in_progress!not_claimed" => expect![[r#"
        task  in_progress (paused) paused resume_task 0% recovering
        a     failed            task_paused                 1/2 attempts
        b     pending           task_paused
    "#]];
}

/// A new generation begins anew: what waited for an instant asks for it again.
#[test]
fn a_retried_step_has_no_timer() {
    with_database(async |db| {
        let mut play = Play::through(db, "a", "a:waits(1h) a:cancel a:retry").await;
        play.live("a:in_progress").await;
        let claim = &play.claims[&(play.task(), 0)];
        assert_eq!(claim.timer, None);
        // where only an attempt is tried again it stays
        let mut play = Play::through(db, "a", "a:waits(1h) +2h a:failed").await;
        play.live("+1h a:in_progress").await;
        assert!(play.claims[&(play.task(), 0)].timer.is_some());
    });
}
