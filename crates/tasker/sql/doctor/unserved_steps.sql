-- Steps that have been due for a minute and whose handler no live worker has offered.
select true as wrong,
  format('%s due steps wait for the handler %s, the first since %s, and no live worker offers it', count(*), h.name, date_trunc('second', min(r.queue_at))) as problem,
  'start a worker that has it: ' || case h.name
    when 'command' then 'tasker worker --allow-command'
    else case when strpos(h.name, '.') > 0 then 'the program in which it is a function' else 'tasker worker' end end as remedy
from tasker.ready_steps r
join tasker.handlers h on h.handler_id = r.handler_id
where r.queue_at < tasker.now() - interval '1 minute'
  and not exists (select from tasker.workers w where r.handler_id = any(w.handler_ids) and w.last_seen_at > tasker.now() - interval '1 minute')
group by h.name
order by h.name
