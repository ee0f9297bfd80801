-- Lists over many tasks start from what is unfinished: the queue, the leases, and this: tasks that were paused or have failed at
-- some time. (State and pause themselves change, and are in no index.)
create index on tasker.task_transitions (task_id) where paused or to_state = 'failed';
