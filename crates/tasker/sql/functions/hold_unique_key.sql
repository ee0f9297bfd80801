-- Takes a unique_while_live key for a task, or gives the live task that holds it. The holder may end between the two
-- statements: then it is tried again.
create function tasker.hold_unique_key(namespace_id int, key text, for_task uuid) returns uuid
language plpgsql as $$
declare holder uuid;
begin
  loop
    insert into tasker.unique_live_keys (task_namespace_id, unique_key, task_id) values (namespace_id, key, for_task)
    on conflict (task_namespace_id, unique_key) do nothing;
    -- taken: an older snapshot may still show whom it belonged to before
    if found then
      return for_task;
    end if;
    select u.task_id into holder from tasker.unique_live_keys u where u.task_namespace_id = namespace_id and u.unique_key = key;
    if found then
      return holder;
    end if;
  end loop;
end $$;

comment on function tasker.hold_unique_key(int, text, uuid) is 'Takes a unique_while_live key for a task, or gives the live task that holds it.';
