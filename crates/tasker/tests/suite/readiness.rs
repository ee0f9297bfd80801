//! Whether a step may run, and if not, why: the first of the reasons that holds, in their order.

use expect_test::expect;

use crate::support::{Rule, rules};

rules! {
    a_join_waits_for_every_parent: "a, b > c", "a:complete b:in_progress" => expect![[r#"
        task  in_progress processing wait_for_completion 33% healthy
        a     complete          finished                    1/3 attempts
        b     in_progress       in_progress                 1/3 attempts
        c     pending           dependencies_not_satisfied  1/2 parents
    "#]];
    a_join_counts_parents_that_finish_one_by_one: "a, b, c > d", "a:complete b:complete c:complete" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 75% healthy
        a     complete          finished                    1/3 attempts
        b     complete          finished                    1/3 attempts
        c     complete          finished                    1/3 attempts
        d     pending           ready
    "#]];
    c01_a_root_is_ready_at_once: "a > b, c > d", "" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
        b     pending           dependencies_not_satisfied  0/1 parents
        c     pending           dependencies_not_satisfied  0/1 parents
        d     pending           dependencies_not_satisfied  0/2 parents
    "#]];
    a_child_is_ready_when_its_parent_is_complete: "a > b", "a:complete" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 50% healthy
        a     complete          finished                    1/3 attempts
        b     pending           ready
    "#]];
    a_parent_satisfies_by_completion_by_skipping_and_by_hand: "a, b, c > d",
        "a:complete b:skipped c:resolve" => expect![[r#"
            task  in_progress has_ready_steps execute_ready_steps 75% healthy
            a     complete          finished                    1/3 attempts
            b     skipped           finished                    1/3 attempts
            c     resolved_manually finished
            d     pending           ready
        "#]];
    what_satisfied_is_finished: "a, b, c", "a:complete b:skipped c:resolve" => expect![[r#"
        task  complete all_complete none 100% healthy
        a     complete          finished                    1/3 attempts
        b     skipped           finished                    1/3 attempts
        c     resolved_manually finished
    "#]];
    a_cancelled_step_is_finished_and_satisfies_nobody: "a > b; c", "a:cancel" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 0% recovering
        a     cancelled         finished
        b     pending           dependencies_not_satisfied  0/1 parents
        c     pending           ready
    "#]];
    a_running_step_is_in_progress: "a", "a:in_progress" => expect![[r#"
        task  in_progress processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 1/3 attempts
    "#]];
    a_running_step_stays_in_progress_in_a_paused_task: "a, b", "a:in_progress task:pause" => expect![[r#"
        task  in_progress (paused) processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 1/3 attempts
        b     pending           task_paused
    "#]];
    c04_a_fatal_failure_is_not_retryable: "a > b", "a:fatal" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            not_retryable               1/3 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    a_node_that_is_not_retryable_fails_for_good: "a[fatal], b", "a:failed" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            not_retryable               1/3 attempts
        b     pending           ready
    "#]];
    not_retryable_comes_before_exhausted: "a[attempts=1], b", "a:fatal" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            not_retryable               1/1 attempts
        b     pending           ready
    "#]];
    a_step_out_of_attempts_is_exhausted: "a[attempts=2], b", "a:failed +1s a:failed" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           2/2 attempts
        b     pending           ready
    "#]];
    c10_a_retry_limit_of_one_runs_once: "a[attempts=1], b", "a:failed" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           1/1 attempts
        b     pending           ready
    "#]];
    c10_a_step_with_one_attempt_runs: "a[attempts=1]", "a:in_progress" => expect![[r#"
        task  in_progress processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 1/1 attempts
    "#]];
    exhausted_comes_before_the_end_of_the_task: "a[attempts=1] > b", "a:failed" => expect![[r#"
        task  failed blocked_by_failures handle_failures 0% blocked
        a     failed            retries_exhausted           1/1 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    c02_a_failed_step_shows_as_failed_and_when: "a", "a:failed" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts
    "#]];
    c03_a_step_that_waits_for_its_retry_does_not_block_its_task: "a > b", "a:failed" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    c05_a_task_whose_steps_all_wait_for_retries_says_so: "a, b", "a:failed b:failed" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts
        b     failed            waiting_for_retry           1/3 attempts
    "#]];
    a_retry_is_due_when_its_instant_has_passed: "a", "a:failed +1s" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            ready                       1/3 attempts
    "#]];
    a_cancelled_tasks_steps_are_cancelled: "a > b; c", "task:cancel" => expect![[r#"
        task  cancelled cancelled none 0% unknown
        a     cancelled         finished
        b     cancelled         finished                    0/1 parents
        c     cancelled         finished
    "#]];
    unsatisfied_dependencies_come_before_a_pause: "a > b", "task:pause" => expect![[r#"
        task  pending (paused) paused resume_task 0% healthy
        a     pending           task_paused
        b     pending           dependencies_not_satisfied  0/1 parents
    "#]];
    an_open_step_of_a_paused_task_says_so: "a, b > c", "a:complete task:pause" => expect![[r#"
        task  in_progress (paused) paused resume_task 33% healthy
        a     complete          finished                    1/3 attempts
        b     pending           task_paused
        c     pending           dependencies_not_satisfied  1/2 parents
    "#]];
    a_pause_comes_before_a_retry_and_before_a_start: "a, b", "a:failed b:waits(1h) task:pause" => expect![[r#"
        task  in_progress (paused) paused resume_task 0% recovering
        a     failed            task_paused                 1/3 attempts
        b     pending           task_paused                 in 3600 s
    "#]];
    a_resumed_task_goes_on_where_it_stood: "a, b, c", "a:failed b:waits(1h) task:pause +5s task:resume" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            ready                       1/3 attempts
        b     pending           scheduled_for_later         in 3595 s
        c     pending           ready
    "#]];
    c22_what_the_far_side_asked_for_is_the_only_instant: "a", "a:asked(30s)" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts, in 30 s
    "#]];
    c22_a_moment_before_it_is_not_ready: "a", "a:asked(30s) +29s +999ms" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts, in 0.001 s
    "#]];
    c22_at_that_moment_it_is: "a", "a:asked(30s) +30s" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            ready                       1/3 attempts
    "#]];
    a_far_side_gets_a_day_at_most: "a", "a:asked(48h)" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts, in 86400 s
    "#]];
    a_task_for_later_is_scheduled: "a, b > c", "submit(run_at=1h)" => expect![[r#"
        task  pending scheduled wait_until_scheduled 0% healthy
        a     pending           scheduled_for_later         in 3600 s
        b     pending           scheduled_for_later         in 3600 s
        c     pending           dependencies_not_satisfied  0/2 parents, in 3600 s
    "#]];
    a_task_for_later_starts_then: "a, b > c", "submit(run_at=1h) +1h" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
        b     pending           ready
        c     pending           dependencies_not_satisfied  0/2 parents
    "#]];
    a_child_of_a_task_for_later_waits_for_its_parents_only: "a > b", "submit(run_at=1h) +1h a:complete" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 50% healthy
        a     complete          finished                    1/3 attempts
        b     pending           ready
    "#]];
    a_timer_gives_the_attempt_back: "a[attempts=1]", "a:waits(1h)" => expect![[r#"
        task  in_progress scheduled wait_until_scheduled 0% healthy
        a     pending           scheduled_for_later         0/1 attempts, in 3600 s
    "#]];
    a_timer_ends: "a[attempts=1]", "a:waits(1h) +1h" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready                       0/1 attempts
    "#]];
    a_timer_can_be_set_again_and_again: "a[attempts=1]", "a:waits(1h) +1h a:waits(1h) +1h a:waits(1h)" => expect![[r#"
        task  in_progress scheduled wait_until_scheduled 0% healthy
        a     pending           scheduled_for_later         0/1 attempts, in 3600 s
    "#]];
    a_timer_that_is_past_is_due: "a", "a:waits(0s)" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
    "#]];
    c34_waiting_is_legal_for_ever: "a, b", "a:waits(300d) b:complete +299d" => expect![[r#"
        task  in_progress scheduled wait_until_scheduled 50% healthy
        a     pending           scheduled_for_later         in 86400 s
        b     complete          finished                    1/3 attempts
    "#]];
    c34_what_waited_longest_is_ready_like_any_other: "a, b", "a:waits(300d) b:complete +301d" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 50% healthy
        a     pending           ready
        b     complete          finished                    1/3 attempts
    "#]];
    c24_an_expired_lease_counts_as_live_until_it_is_reaped: "a", "a:in_progress +1h" => expect![[r#"
        task  in_progress processing wait_for_completion 0% healthy
        a     in_progress       in_progress                 1/3 attempts
    "#]];
    c24_a_reaped_lease_is_a_failed_attempt: "a", "a:lost" => expect![[r#"
        task  in_progress waiting_for_retry wait_for_retry 0% recovering
        a     failed            waiting_for_retry           1/3 attempts
    "#]];
    a_step_that_kills_its_workers_is_exhausted: "a[attempts=2], b", "a:lost +5m a:lost" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           2/2 attempts
        b     pending           ready
    "#]];
    a_released_step_is_due_and_its_attempt_is_given_back: "a", "a:released" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
    "#]];
    a_released_step_keeps_its_timer_and_its_failures: "a", "a:failed +1s a:released" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready                       1/3 attempts
    "#]];
    a_step_that_may_run_only_once_is_not_given_back: "a[attempts=1], b", "a:released" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% recovering
        a     failed            retries_exhausted           1/1 attempts
        b     pending           ready
    "#]];
    a_limit_without_room_is_the_last_reason: "a[concurrency=1]", "submit submit 1.a:in_progress" => expect![[r#"
        1.task  in_progress processing wait_for_completion 0% healthy
        1.a   in_progress       in_progress                 1/3 attempts
        2.task  pending waiting_for_capacity wait_for_capacity 0% healthy
        2.a   pending           concurrency_limit_reached
    "#]];
    a_retry_comes_before_a_limit: "a[concurrency=1]", "submit submit 2.a:failed 1.a:in_progress" => expect![[r#"
        1.task  in_progress processing wait_for_completion 0% healthy
        1.a   in_progress       in_progress                 1/3 attempts
        2.task  in_progress waiting_for_retry wait_for_retry 0% recovering
        2.a   failed            waiting_for_retry           1/3 attempts
    "#]];
    a_pause_comes_before_a_limit: "a[concurrency=1]", "submit submit 1.a:in_progress 2.task:pause" => expect![[r#"
        1.task  in_progress processing wait_for_completion 0% healthy
        1.a   in_progress       in_progress                 1/3 attempts
        2.task  pending (paused) paused resume_task 0% healthy
        2.a   pending           task_paused
    "#]];
    a_limit_has_room_again_when_an_attempt_ends: "a[concurrency=1]", "submit submit 1.a:in_progress 1.a:failed" => expect![[r#"
        1.task  in_progress waiting_for_retry wait_for_retry 0% recovering
        1.a   failed            waiting_for_retry           1/3 attempts
        2.task  pending has_ready_steps execute_ready_steps 0% healthy
        2.a   pending           ready
    "#]];
    a_limit_has_room_again_when_a_lease_is_lost: "a[concurrency=1]", "submit submit 1.a:lost" => expect![[r#"
        1.task  in_progress waiting_for_retry wait_for_retry 0% recovering
        1.a   failed            waiting_for_retry           1/3 attempts
        2.task  pending has_ready_steps execute_ready_steps 0% healthy
        2.a   pending           ready
    "#]];
    a_limit_has_room_again_when_a_running_step_is_cancelled: "a[concurrency=1]",
        "submit submit 1.a:in_progress 1.a:cancel" => expect![[r#"
            1.task  failed blocked_by_failures handle_failures 0% blocked
            1.a   cancelled         finished                    1/3 attempts
            2.task  pending has_ready_steps execute_ready_steps 0% healthy
            2.a   pending           ready
        "#]];
    a_limit_of_two_lets_two_run: "a[concurrency=2]", "submit submit submit 1.a:in_progress 3.a:in_progress" => expect![[r#"
        1.task  in_progress processing wait_for_completion 0% healthy
        1.a   in_progress       in_progress                 1/3 attempts
        2.task  pending waiting_for_capacity wait_for_capacity 0% healthy
        2.a   pending           concurrency_limit_reached
        3.task  in_progress processing wait_for_completion 0% healthy
        3.a   in_progress       in_progress                 1/3 attempts
    "#]];
    a_limit_is_for_each_value_of_its_key: "a[concurrency=1 key=customer.id]",
        r#"submit(context={"customer":{"id":1}}) submit(context={"customer":{"id":2}}) submit(context={"customer":{"id":1}}) 1.a:in_progress"# => expect![[r#"
            1.task  in_progress processing wait_for_completion 0% healthy
            1.a   in_progress       in_progress                 1/3 attempts
            2.task  pending has_ready_steps execute_ready_steps 0% healthy
            2.a   pending           ready
            3.task  pending waiting_for_capacity wait_for_capacity 0% healthy
            3.a   pending           concurrency_limit_reached
        "#]];
    an_absent_key_and_null_are_the_same_value: "a[concurrency=1 key=customer]",
        r#"submit submit(context={"customer":null}) submit(context={"customer":""}) submit(context={"customer":"x"}) 1.a:in_progress"# => expect![[r#"
            1.task  in_progress processing wait_for_completion 0% healthy
            1.a   in_progress       in_progress                 1/3 attempts
            2.task  pending waiting_for_capacity wait_for_capacity 0% healthy
            2.a   pending           concurrency_limit_reached
            3.task  pending waiting_for_capacity wait_for_capacity 0% healthy
            3.a   pending           concurrency_limit_reached
            4.task  pending has_ready_steps execute_ready_steps 0% healthy
            4.a   pending           ready
        "#]];
    steps_have_limits_of_their_own: "a[concurrency=1], b[concurrency=1], c", "a:in_progress" => expect![[r#"
        task  in_progress has_ready_steps execute_ready_steps 0% healthy
        a     in_progress       in_progress                 1/3 attempts
        b     pending           ready
        c     pending           ready
    "#]];
    a_deadline_counts_as_not_passed_until_it_is_acted_on: "a", "submit(deadline=1h) +2h" => expect![[r#"
        task  pending has_ready_steps execute_ready_steps 0% healthy
        a     pending           ready
    "#]];
    a_passed_deadline_fails_what_waits_for_a_later_instant: "a, b > c; d", "submit(deadline=1h) a:asked(2h) b:waits(2h) d:complete +1h reap" => expect![[r#"
        task  failed blocked_by_failures handle_failures 25% blocked
        a     failed            not_retryable               1/3 attempts
        b     failed            not_retryable
        c     pending           dependencies_not_satisfied  0/2 parents
        d     complete          finished                    1/3 attempts
    "#]];
    a_passed_deadline_fails_every_open_and_leased_step: "a, b, c > d; e[attempts=1] > f",
        "submit(deadline=1h) a:complete b:in_progress c:failed e:failed +1h reap" => expect![[r#"
            task  failed blocked_by_failures handle_failures 17% blocked
            a     complete          finished                    1/3 attempts
            b     failed            not_retryable               1/3 attempts
            c     failed            not_retryable               1/3 attempts
            d     pending           dependencies_not_satisfied  1/3 parents
            e     failed            retries_exhausted           1/1 attempts
            f     pending           dependencies_not_satisfied  0/1 parents
        "#]];
}
