-- Seconds until the next attempt after so many failures: d = base * 2^(failures - 1), at most max, uniform between d/2 and d.
create function tasker.backoff(base double precision, max double precision, failures int) returns double precision
language sql volatile
return least(base * power(2, least(greatest(failures - 1, 0), 30)), max) * (0.5 + random() / 2);

comment on function tasker.backoff(double precision, double precision, int) is 'Seconds until the next attempt after so many failures.';
