-- What the roles may do; each may what those before it may. Given anew with the views and functions, which take their rights
-- away with them; whoever owns the schema can do so. A function runs with its caller's rights,
-- but for submit_task: a worker needs the tables that its verbs write to, and who may write to them may do anything; a submitter
-- has no table, and the operator has the verbs by hand besides.

-- looks at everything
grant usage on schema tasker to tasker_viewer;
grant select on all tables in schema tasker to tasker_viewer;

-- submits tasks, by the verb alone
revoke all on all tables in schema tasker from tasker_submitter;

-- runs steps, and registers workflows and itself
grant insert, update, delete on all tables in schema tasker to tasker_worker;
revoke insert, update, delete on tasker.schema_migrations, tasker.schema_objects from tasker_worker;
grant usage on all sequences in schema tasker to tasker_worker;

-- serves HTTP, too: asks for keys, makes none, and writes the audit, which nobody changes
revoke all on tasker.api_keys from tasker_viewer, tasker_worker;
revoke insert, update, delete on tasker.audit_records from tasker_worker;
grant select on tasker.api_keys to tasker_operator;
grant insert on tasker.audit_records to tasker_operator;

do $$
declare
  reads text[] := '{now, clock, step_id, step_id_text, step_id_after, step_number_of, task_of, limit_key, limit_key_in, leases_under, limit_of, explain_step, catalogue_hash, refuse,
    event_epoch, event_snapshot, events_now, read_events}';
  submits text[] := '{submit_task, wake}';
  by_hand text[] := '{cancel_task, cancel_step, retry_task, retry_step, resolve_task, resolve_step, pause_task, resume_task,
    edit_step_input, change_retry_limit}';
  f record;
begin
  for f in select p.oid::regprocedure as name, p.proname from pg_proc p where p.pronamespace = 'tasker'::regnamespace loop
    execute format('grant execute on function %s to %s', f.name, case
      when f.proname = any(reads) then 'tasker_viewer'
      when f.proname = any(submits) then 'tasker_submitter'
      when f.proname = any(by_hand) then 'tasker_operator'
      else 'tasker_worker' end);
  end loop;
end $$;
