create function tasker.stored_size(task_id uuid, step_numbers int[]) returns bigint
language plpgsql stable as $$
begin
  -- offset 0: one probe of the index a result
  return (
    select sum(r.size) from unnest(step_numbers) number_ cross join lateral (
      select pg_column_size(r.result) as size from tasker.step_results r
      where r.task_id = stored_size.task_id and r.step_number = number_ offset 0) r);
end $$;

comment on function tasker.stored_size(uuid, int[]) is 'How many bytes the results of some steps take as they are stored.';
