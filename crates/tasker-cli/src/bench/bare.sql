-- The bare engine: what plain SQL can do at best. A table of steps with counters, claims of a batch with skip locked, and one statement
-- that completes a batch and counts children down. It has no history, lease, result, retry, limit or recovery.
create schema bare;

create table bare.edges (from_step int not null, to_step int not null, primary key (from_step, to_step));
create table bare.parents (step int primary key, total int not null);
create table bare.steps (
  task bigint not null, step int not null, waits int not null, state smallint not null default 0, primary key (task, step)
) with (fillfactor = 70);
create index on bare.steps (task, step) where waits = 0 and state = 0;

create function bare.submit(tasks bigint[]) returns void
language sql as $$
  insert into bare.steps (task, step, waits) select t, p.step, p.total from unnest(tasks) t, bare.parents p
$$;

create function bare.turn(tasks bigint[], of_steps int[], wanted int) returns table (task bigint, step int)
language plpgsql
-- rows are written in the order of their keys, so that two calls do not wait for each other
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  if cardinality(tasks) > 0 then
    with done as (
      update bare.steps s set state = 2 from unnest(tasks, of_steps) d(task, step) where s.task = d.task and s.step = d.step),
    children as materialized (
      select d.task, e.to_step as step, count(*)::int as satisfied
      from unnest(tasks, of_steps) d(task, step) join bare.edges e on e.from_step = d.step group by 1, 2 order by 1, 2)
    update bare.steps s set waits = s.waits - c.satisfied from children c where s.task = c.task and s.step = c.step;
  end if;
  return query
    with c as materialized (
      select s.task, s.step from bare.steps s where s.waits = 0 and s.state = 0 order by s.task, s.step limit wanted for update skip locked)
    update bare.steps s set state = 1 from c where s.task = c.task and s.step = c.step returning s.task, s.step;
end $$;
