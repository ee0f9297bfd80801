-- The bare engine, with what may run apart: a queue, whose rows are deleted by the claim, so that a step's row is written only as its parents and it
-- end. No history, lease, result, retry, limit or recovery either. It is about half as fast again as the other (`bare.sql`).
create schema bare_queue;

create table bare_queue.edges (from_step int not null, to_step int not null, primary key (from_step, to_step));
create table bare_queue.parents (step int primary key, total int not null);
create table bare_queue.steps (
  task bigint not null, step int not null, waits int not null, done boolean not null default false, primary key (task, step)
) with (fillfactor = 70);
create table bare_queue.ready (number bigint generated always as identity primary key, task bigint not null, step int not null);

create function bare_queue.submit(tasks bigint[]) returns void
language sql as $$
  insert into bare_queue.steps (task, step, waits) select t, p.step, p.total from unnest(tasks) t, bare_queue.parents p;
  insert into bare_queue.ready (task, step) select t, p.step from unnest(tasks) t, bare_queue.parents p where p.total = 0
$$;

create function bare_queue.turn(tasks bigint[], of_steps int[], wanted int) returns table (task bigint, step int)
language plpgsql
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  if cardinality(tasks) > 0 then
    -- two that count the same joins down meet in one order
    perform from (
      select s.task, s.step from unnest(tasks, of_steps) d(task, step)
      join bare_queue.edges e on e.from_step = d.step
      join bare_queue.steps s on s.task = d.task and s.step = e.to_step
      where s.waits > 1
      order by s.task, s.step for update of s) s;
    with done as (
      update bare_queue.steps s set done = true from unnest(tasks, of_steps) d(task, step) where s.task = d.task and s.step = d.step),
    children as (
      select d.task, e.to_step as step, count(*)::int as satisfied
      from unnest(tasks, of_steps) d(task, step) join bare_queue.edges e on e.from_step = d.step group by 1, 2),
    counted as (
      update bare_queue.steps s set waits = s.waits - c.satisfied from children c where s.task = c.task and s.step = c.step
      returning s.task, s.step, s.waits)
    insert into bare_queue.ready (task, step) select c.task, c.step from counted c where c.waits = 0 order by c.task, c.step;
  end if;
  return query
    with c as materialized (select r.number from bare_queue.ready r order by r.number limit wanted for update skip locked)
    delete from bare_queue.ready r using c where r.number = c.number returning r.task, r.step;
end $$;
