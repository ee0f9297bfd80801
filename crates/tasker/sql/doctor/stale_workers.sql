-- Workers that have not been seen for a minute and hold leases.
select false as wrong,
  format('worker %s (%s) holds %s leases and was last seen at %s', l.worker_id, coalesce(w.description, 'unknown'), count(*),
    coalesce(date_trunc('second', w.last_seen_at)::text, 'no time')) as problem,
  'if it is dead, its leases expire and others take its steps; if it lives, look at its logs: it cannot reach the database' as remedy
from tasker.leases l
left join tasker.workers w on w.worker_id = l.worker_id
where w.worker_id is null or w.last_seen_at < tasker.now() - interval '1 minute'
group by l.worker_id, w.worker_id
order by l.worker_id
