-- Everything that an application in any language can do, by SQL. The worker is a process of its own.

\echo '-- an order and its parcel, in one transaction: both are there, or neither'
create table if not exists orders (id int generated always as identity primary key, item text not null, task_id uuid not null);
begin;
insert into orders (item, task_id)
values ('teapot', tasker.submit_task('shop', 'parcel', '{"item": "teapot", "grams": 900}', idempotency_key => 'order 1'));
insert into orders (item, task_id)
values ('anvil', tasker.submit_task('shop', 'parcel', '{"item": "anvil", "grams": 90000}', idempotency_key => 'order 2'));
commit;
select tasker.wake();

-- until nothing more can be done without a person
create or replace procedure wait_for_orders() language plpgsql as $$
begin
  for i in 1 .. 300 loop
    exit when not exists (
      select from orders o join tasker.task_execution_contexts c on c.task_id = o.task_id
      where c.recommended_action not in ('none', 'handle_failures'));
    commit;
    perform pg_sleep(0.1);
  end loop;
end $$;
call wait_for_orders();

\echo '-- how they stand, and what to do'
select o.item, c.status, c.execution_status, c.recommended_action, c.completion_percentage
from orders o join tasker.task_execution_contexts c on c.task_id = o.task_id order by o.id;

\echo '-- why the anvil was not sent'
select e.name, e.cause, e.detail
from orders o join tasker.workflow_steps s on s.task_id = o.task_id and s.name = 'send'
cross join lateral tasker.explain_step(s.workflow_step_id) e where o.item = 'anvil';

\echo '-- a person weighs it again, and gives the result'
select s.name, tasker.resolve_step(s.workflow_step_id, '2000', actor => 'ann', reason => 'the scales were wrong')
from orders o join tasker.workflow_steps s on s.task_id = o.task_id and s.name = 'weigh' where o.item = 'anvil';
select tasker.wake();
call wait_for_orders();

\echo '-- what came of them'
select o.item, r.result
from orders o join tasker.workflow_steps s on s.task_id = o.task_id and s.name = 'send'
join tasker.step_results r on r.task_id = s.task_id and r.step_number = s.step_number order by o.id;
