/*
 * transition.pml - one task, several actors, one fencing lease, an effect
 * ledger, and an outside world that is slow, forgetful and not transactional.
 *
 * With no -D flag this is the protocol as it is built. ../model.md maps each
 * step (label, inline, KILL, TIER3, DECLARE_LOST, COME_BACK) to the function
 * that does it. Every mutant flag removes exactly one protection; expected.txt
 * says which invariant then breaks, and check.sh holds that against Spin.
 *
 * Stages kept (the others add no new protocol step):
 *   REV --merge_pr--> TST --rebuild, deploy start--> DEP (terminal here)
 *   REV --retreat---> DEV --new commits--> REV            (the A-B-A path)
 *   any non-terminal --STOP--> CAN (terminal)
 *
 * Effects:
 *   merge   asynchronous, guarded at the forge by the expected head SHA
 *   deploy  asynchronous, guarded at the target by an idempotency key
 *   U       an effect WITHOUT a key (image rebuild, message to a human)
 * "Asynchronous" is the heart of the model: a request sent by a process that
 * has since died, or has been fenced, can still land later.
 */

/* ---- size of the check and fault budgets --------------------------------- */
#ifndef NACT
#define NACT 3            /* actors running the same code (1..3)               */
#endif
#ifndef MAXCRASH
#define MAXCRASH 1        /* kill -9 of any process inside, at any step; it restarts */
#endif
#ifndef MAXT3
#define MAXT3 1           /* reaper Tier 3: force-release under a live holder  */
#endif
#ifndef MAXRETREAT
#define MAXRETREAT 1      /* review -> development decisions (0..2)            */
#endif
#ifndef MAXTO
#define MAXTO 1           /* client gives up waiting for an answer             */
#endif
#ifndef MAXLOSS
#define MAXLOSS 1         /* request lost on the way to the outside            */
#endif
#ifndef MAXHANG
#define MAXHANG 0         /* actor blocks for ever inside the region           */
#endif
#ifndef MAXTTL
#define MAXTTL 1          /* only with TTL: expiries under a live holder       */
#endif
#ifndef MAXLOST
#define MAXLOST 0         /* nodes declared lost while their processes go on   */
#endif
#ifndef CHK
#define CHK 8191          /* bit mask of the invariants that are asserted      */
#endif

/* ---- invariants ---------------------------------------------------------- */
#define I1   1   /* at most one merge per pull request                                   */
#define I2   2   /* a merge lands only in the review visit in which it was decided       */
#define I3   4   /* no retreat to development is committed once the PR is merged         */
#define I4   8   /* the stage history is a path of the stage graph                       */
#define I5   16  /* testing is entered only with the head reviewed in this visit merged  */
#define I6   32  /* at most one deploy start; deploy is entered only after it            */
#define I7   64  /* no merge and no deploy start lands after a cancel was acknowledged   */
#define I8   128 /* an effect without key is repeated only if a fault hit its performer  */
#define I9   256 /* never two live actors inside the region                              */
#define I10  512 /* no ledger claim is written with a stale epoch                        */
#define I11  1024/* an effect without key does not happen after an acknowledged cancel   */
#define I12  2048/* no commit rests on a decision made in an earlier visit (A-B-A)       */
#define I13  4096/* only with REACH: a state that must be reachable (vacuity check)      */
/* progress = no invalid end state + no non-progress cycle, see README        */
#define INV(bit,c) assert(((CHK) & bit) == 0 || (c))

#define DEV 1
#define REV 2
#define TST 3
#define DEP 4
#define CAN 5
#define NV  (MAXRETREAT+1)
#define SID (NACT+1)      /* the STOP actor's id                               */

/* ---- the database (every atomic block below is one transaction) ---------- */
byte stage = REV;
byte seq   = 0;           /* tasks.stage_seq                                   */
byte visit = 0;           /* which visit of review this is                     */
byte lease_owner = 0;     /* 0 = free                                          */
bit  lease_live  = 0;     /* what the identity check (host, boot_id, pid, start
                             time) says about the owner                        */
byte lease_epoch = 0;     /* fencing token                                     */
byte m_cl[NV];            /* ledger: merge, by visit; 0 none 1 claimed 2 confirmed */
byte u_cl = 0, d_cl = 0;  /* ledger: U and deploy start                        */
bit  stop_req = 0;        /* durable stop request: closes the region to entry  */
bit  acked = 0;           /* the user was told "cancelled"                     */

/* ---- the outside world --------------------------------------------------- */
byte head = 1;            /* branch head; a value never comes back             */
byte rh[NV];              /* head reviewed in visit v (= expected SHA)         */
bit  pr_open = 1;
bit  merged = 0;
byte merged_head = 0;
byte n_merge = 0;
byte m_fly[NV];           /* merge requests on the wire, by visit              */
byte n_deploy = 0;
bit  tomb = 0;            /* deploy key tombstoned at the target               */
byte d_fly = 0;           /* deploy requests on the wire                       */
byte n_u = 0;

/* ---- fault bookkeeping --------------------------------------------------- */
bit  dead[SID+1];
bit  in_reg[SID+1];
bit  lost[SID+1];         /* the node of this actor is declared lost; each actor
                             has a node of its own                             */
bit  hung = 0;            /* the present holder hangs                          */
byte crashes = 0, t3 = 0, timeouts = 0, losses = 0, retreats = 0, hangs = 0, ttl = 0;
byte losts = 0;

/* ---- protection switches ------------------------------------------------- */
#if defined(NO_LEASE)
#define FREE     (1)
#define CLAIM_OK (1)
#define EPOCH_OK (1)
#else
#if defined(TTL)
#define SEEN_DEAD (!lease_live || ttl < MAXTTL)
#elif defined(FOREIGN)    /* owner's death cannot be seen: other node, or the
                             identity is only a pid that was used again        */
#define SEEN_DEAD (0)
#else
#define SEEN_DEAD (!lease_live)
#endif
#define FREE     (lease_owner == 0 || SEEN_DEAD || lost[lease_owner])
#define EPOCH_OK (lease_epoch == my)
#if defined(CLAIM_NO_EPOCH)
#define CLAIM_OK (1)
#elif defined(CLAIM_BUMP)  /* the claim moves stage_seq: older decisions die here */
#define CLAIM_OK (EPOCH_OK && seq == q)
#else
#define CLAIM_OK (EPOCH_OK)
#endif
#endif
#if defined(CLAIM_BUMP)
#define BUMP     seq++; q++
#else
#define BUMP     skip
#endif

#if defined(NO_CAS)
#define CAS_SEQ(f,q0) (1)
#elif defined(CAS_STAGE)
#define CAS_SEQ(f,q0) (stage == f)
#else
#define CAS_SEQ(f,q0) (stage == f && seq == q0)
#endif
#if defined(CAS_NO_EPOCH)
#define CAS(f,q0) (CAS_SEQ(f,q0))
#else
#define CAS(f,q0) (CAS_SEQ(f,q0) && EPOCH_OK)
#endif

#if defined(NO_SHA)
#define SHA_OK(v) (1)
#else
#define SHA_OK(v) (head == rh[v])
#endif

/* ---- lease --------------------------------------------------------------- */
inline acquire(me) {
    if
    :: lease_owner != 0 && lease_live -> ttl++     /* reachable only with TTL  */
    :: else -> skip
    fi;
#if !defined(NO_LEASE)
    lease_owner = me; lease_live = 1; lease_epoch++; my = lease_epoch; hung = 0;
#endif
    k = 1;
    do
    :: k > SID -> break
    :: else ->
        /* The exceptions: Tier 3 that could not kill, and a node that is declared
           lost NOW. Once it is back, nothing that it ran may be inside.       */
#if defined(T3_NOKILL)
        INV(I9, k == me || !in_reg[k] || lost[k] || t3 > 0 || hangs > 0);
#else
        INV(I9, k == me || !in_reg[k] || lost[k]);
#endif
        k++
    od;
    k = 0;
    in_reg[me] = 1
}

inline leave(me) {
    if
    :: lease_owner == me && lease_epoch == my -> lease_owner = 0; lease_live = 0
    :: else -> skip
    fi;
    in_reg[me] = 0; my = 0; s = 0; q = 0; v = 0; saw = 0
}

/* An actor that blocks for ever; it runs again only after it was fenced.      */
#define HANGPOINT(next) \
    :: atomic { hangs < MAXHANG && lease_epoch == my -> hangs++; hung = 1 }; \
       atomic { lease_epoch != my -> goto next }

proctype Actor(byte id)
{
    byte my = 0, s = 0, q = 0, v = 0, k = 0; bit saw = 0;
again:
  {
    if
    :: atomic { stage >= DEP -> goto fin }
    :: atomic { stage < DEP && !stop_req && FREE -> acquire(id) }
#if defined(RETREAT_UNLEASED)
    :: atomic { stage == REV && !stop_req && m_cl[visit] == 0 && retreats < MAXRETREAT ->
                retreats++; s = stage; q = seq; v = visit };
       atomic { if
                :: CAS_SEQ(REV, q) -> INV(I4, stage == REV); INV(I12, visit == v);
                                      INV(I3, !merged); stage = DEV; seq++
                :: else -> skip
                fi;
                s = 0; q = 0; v = 0; goto again }
#endif
    fi;
    atomic { s = stage; q = seq; v = visit };      /* read AFTER the entry     */
    if
    :: s == REV -> goto rev
    :: s == DEV -> goto dv
    :: s == TST -> goto u_claim
    :: s >= DEP -> goto out
    fi;

    /* --------------------------------------------- review: merge or retreat  */
rev:
    if
    :: goto m_claim
    :: atomic { retreats < MAXRETREAT -> retreats++; goto r_poison }
    fi;
m_claim:
    atomic {
        if
        :: CLAIM_OK ->
#if !defined(NO_LEASE)
            INV(I10, lease_epoch == my);
#endif
            BUMP;
            if
            :: m_cl[v] == 2 -> goto m_commit
            :: else -> m_cl[v] = 1                 /* new, or adopted          */
            fi
        :: else -> goto out
        fi
    };
m_look:
    atomic {
#if defined(NO_LOOK)
        goto m_send
#else
        if
        :: merged -> goto m_confirm
#if defined(STALE_READ)
        :: merged -> goto m_send                   /* replica lag at the forge */
#endif
        :: !merged && head != rh[v] -> goto r_poison   /* revoked earlier: only way is back */
        :: !merged && head == rh[v] && !pr_open -> goto out
        :: !merged && head == rh[v] && pr_open -> goto m_send
        fi
#endif
    };
m_send:
    if
    :: atomic { saw = merged;
         if :: m_fly[v] < 2 -> m_fly[v]++ :: else -> skip fi }
    :: atomic { retreats < MAXRETREAT -> retreats++; goto r_poison }  /* re-test red */
    HANGPOINT(m_send)
    fi;
m_wait:
    if
    :: m_fly[v] == 0
    :: atomic { m_fly[v] > 0 && timeouts < MAXTO -> timeouts++ }
    HANGPOINT(m_back)
    fi;
m_back:
    atomic {
#if defined(NO_LOOK)
        if                                         /* believes the bare answer */
        :: saw -> goto r_commit                    /* "not mergeable"          */
        :: !saw && merged -> goto m_confirm
        :: !saw && !merged && m_fly[v] == 0 && head != rh[v] -> goto r_commit
        :: !saw && !merged && !(m_fly[v] == 0 && head != rh[v]) && pr_open -> goto m_claim
        :: !saw && !merged && !(m_fly[v] == 0 && head != rh[v]) && !pr_open -> goto out
        fi
#else
        if
        :: merged -> goto m_confirm                /* also "already merged"    */
#if defined(STALE_READ)
        :: merged -> goto m_claim
#endif
        :: !merged -> goto m_claim                 /* epoch is checked again   */
        :: !merged && retreats < MAXRETREAT -> retreats++; goto r_poison  /* give up */
        fi
#endif
    };
m_confirm:
    m_cl[v] = 2;
m_commit:
    atomic {
        if
        :: CAS(REV, q) ->
            INV(I4, stage == REV); INV(I12, visit == v);
            INV(I5, merged && merged_head == rh[v] && (stage != REV || visit == v));
            stage = TST; seq++
        :: else -> skip                            /* lost: no side effect     */
        fi;
        goto out
    };

r_poison:                /* revoke what may still be on the wire, then look    */
    atomic {
#if !defined(NO_POISON)
        if
        :: m_cl[v] != 0 ->
#if defined(POISON_REOPEN)
            pr_open = 0
#else
            if :: head == rh[v] -> head++ :: else -> skip fi  /* conditional push */
#endif
        :: else -> goto r_commit                   /* nothing was ever claimed */
        fi
#else
        skip
#endif
    };
    atomic {
        if
        :: merged && m_cl[v] != 0 -> goto m_confirm
#if defined(STALE_READ)
        :: merged && m_cl[v] != 0 -> goto r_commit
#endif
        :: !merged || m_cl[v] == 0 -> goto r_commit
        fi
    };
r_commit:
    atomic {
        if
        :: CAS(REV, q) ->
            INV(I4, stage == REV); INV(I12, visit == v);
            INV(I3, !merged);
            stage = DEV; seq++
        :: else -> skip
        fi;
        goto out
    };

    /* --------------------------------------------- development: new commits  */
dv:
    atomic {
        if
        :: CAS(DEV, q) && visit + 1 < NV ->
            INV(I4, stage == DEV); INV(I12, visit == v);
            stage = REV; seq++; visit++;
#if defined(POISON_REOPEN)
            pr_open = 1;                           /* same head, PR reopened   */
#else
            head++;
#endif
            rh[visit] = head
        :: else -> skip
        fi;
        goto out
    };

    /* --------------------------------------------- testing: U, deploy start  */
u_claim:
    atomic {
        if
        :: CLAIM_OK ->
#if !defined(NO_LEASE)
            INV(I10, lease_epoch == my);
#endif
            BUMP;
            if
            :: u_cl == 2 -> goto d_claim
            :: else -> u_cl = 1
            fi
        :: else -> goto out
        fi
    };
    atomic {
        if :: n_u < 5 -> n_u++ :: else -> skip fi;
        INV(I8, n_u <= 1 + crashes + t3 + hangs + losts);
        INV(I11, !acked)
    };
    u_cl = 2;
d_claim:
    atomic {
        if
        :: CLAIM_OK ->
#if !defined(NO_LEASE)
            INV(I10, lease_epoch == my);
#endif
            BUMP;
            if
            :: d_cl == 2 -> goto d_commit
            :: else -> d_cl = 1
            fi
        :: else -> goto out
        fi
    };
d_look:
    atomic {
#if defined(NO_LOOK)
        goto d_send
#else
        if
        :: n_deploy > 0 -> goto d_confirm
        :: n_deploy == 0 && tomb -> goto out
        :: n_deploy == 0 && !tomb -> goto d_send
        fi
#endif
    };
d_send:
    if
    :: atomic { if :: d_fly < 2 -> d_fly++ :: else -> skip fi }
    HANGPOINT(d_send)
    fi;
d_wait:
    if
    :: d_fly == 0
    :: atomic { d_fly > 0 && timeouts < MAXTO -> timeouts++ }
    HANGPOINT(d_back)
    fi;
d_back:
    atomic {
        if
        :: n_deploy > 0 -> goto d_confirm
        :: n_deploy == 0 && tomb -> goto out
        :: n_deploy == 0 && !tomb -> goto d_claim
        fi
    };
d_confirm:
    d_cl = 2;
d_commit:
    atomic {
        if
        :: CAS(TST, q) ->
            INV(I4, stage == TST);
            INV(I6, n_deploy == 1);
            stage = DEP; seq++
        :: else -> skip
        fi;
        goto out
    };

out:
    atomic { leave(id); goto again };
fin:
    atomic { in_reg[id] = 0 }
  } unless { atomic { dead[id] -> dead[id] = 0;
                      my = 0; s = 0; q = 0; v = 0; saw = 0; k = 0; goto again } }
}

#if !defined(NO_STOP)
active proctype Stop()
{
    byte my = 0, s = 0, q = 0, v = 0, k = 0; bit saw = 0;
end_idle:
    if
    :: atomic { stage < DEP -> stop_req = 1 }      /* the user presses STOP    */
    :: atomic { stage >= DEP -> goto sfin }
    fi;
again:
  {
    if                                             /* deferred while the region is occupied */
#if defined(STOP_NO_WAIT)
    :: atomic { in_reg[SID] = 1; my = lease_epoch }
#else
    :: atomic { FREE -> acquire(SID) }
#endif
    fi;
s_read:
    atomic { s = stage; q = seq; v = visit;
#if defined(STOP_NO_WAIT)
             my = lease_epoch;
#endif
             if :: s >= DEP || EPOCH_OK == 0 -> goto sout :: else -> skip fi };
#if !defined(STOP_NO_POISON)
    pr_open = 0;                                   /* for ever: nothing reopens it */
    tomb = 1;
#endif
    atomic {
        if
        :: s == REV && merged ->                   /* the merge won: go on from there */
            if
            :: CAS(REV, q) ->
                INV(I4, stage == REV); INV(I5, merged_head == rh[v]);
                m_cl[v] = 2; stage = TST; seq++
            :: else -> skip
            fi;
            goto s_read
        :: s == TST && n_deploy > 0 ->             /* the deploy won: too late */
            if
            :: CAS(TST, q) ->
                INV(I4, stage == TST); INV(I6, n_deploy == 1);
                d_cl = 2; stage = DEP; seq++
            :: else -> skip
            fi;
            goto s_read
        :: else -> skip
        fi
    };
    atomic {
        if
        :: CAS(s, q) -> INV(I4, stage < DEP); stage = CAN; seq++
        :: else -> goto s_read
        fi
    };
    acked = 1;
sout:
    atomic { leave(SID);
             if :: stage >= DEP -> goto sfin :: else -> goto again fi }
  } unless { atomic { dead[SID] -> dead[SID] = 0;
                      my = 0; s = 0; q = 0; v = 0; saw = 0; k = 0;
                      if :: stage == CAN -> acked = 1; goto sfin
                         :: stage == DEP -> goto sfin
                         :: else -> goto again fi } };
sfin:
    skip
}
#endif

inline land_merge(w) {
    if
#if defined(FORGE_NAIVE)    /* "git merge && git push" without an expected old value */
    :: pr_open ->
#else
    :: pr_open && !merged && SHA_OK(w) ->
#endif
        if :: n_merge < 3 -> n_merge++ :: else -> skip fi;
        merged = 1; merged_head = head;
        INV(I1, n_merge <= 1);
        INV(I2, stage == REV && visit == w);
        INV(I7, !acked)
    :: else -> skip                                /* refused                  */
    fi
}

inline land_deploy() {
    if
#if defined(NO_KEY)
    :: 1 ->
#else
    :: !tomb && n_deploy == 0 ->
#endif
        if :: n_deploy < 3 -> n_deploy++ :: else -> skip fi;
        INV(I6, n_deploy <= 1);
        INV(I7, !acked)
#if !defined(NO_KEY)
    :: else -> skip                                /* refused or same key      */
#endif
    fi
}

active proctype Outside()
{
end_idle:
    do
    :: atomic { m_fly[0] > 0 -> m_fly[0]--; land_merge(0) }
    :: atomic { m_fly[0] > 0 && losses < MAXLOSS -> losses++; m_fly[0]-- }
#if MAXRETREAT > 0
    :: atomic { m_fly[1] > 0 -> m_fly[1]--; land_merge(1) }
    :: atomic { m_fly[1] > 0 && losses < MAXLOSS -> losses++; m_fly[1]-- }
#endif
#if MAXRETREAT > 1
    :: atomic { m_fly[2] > 0 -> m_fly[2]--; land_merge(2) }
    :: atomic { m_fly[2] > 0 && losses < MAXLOSS -> losses++; m_fly[2]-- }
#endif
    :: atomic { d_fly > 0 -> d_fly--; land_deploy() }
    :: atomic { d_fly > 0 && losses < MAXLOSS -> losses++; d_fly-- }
    od
}

/* One conditional update, after silence; or because nobody can tell any more. */
#if defined(LOST_HELPS)   /* a hung or unseen owner makes its node silent       */
#define SILENT(i) (losts < MAXLOST || (lease_owner == i && (hung || !lease_live)))
#else
#define SILENT(i) (losts < MAXLOST)
#endif
#define DECLARE_LOST(i) \
    :: atomic { !lost[i] && SILENT(i) -> \
         if \
         :: lease_owner == i && (hung || !lease_live) -> skip \
         :: else -> losts++ \
         fi; \
         lost[i] = 1 }

/* The node learns of it: it ends all that it ran, sees it dead, frees what the
   dead still held, and only then registers again.                             */
#if defined(LOST_NO_FENCE)
#define COME_BACK(i) \
    :: atomic { lost[i] -> lost[i] = 0 }
#elif defined(LOST_HELD_ONLY)  /* ends only the holders of leases, not those
                                  whose lease was taken over meanwhile         */
#define COME_BACK(i) \
    :: atomic { lost[i] -> \
         if \
         :: lease_owner == i -> \
              if :: lease_live -> dead[i] = 1; in_reg[i] = 0 :: else -> skip fi; \
              lease_owner = 0; lease_live = 0; lease_epoch++; hung = 0 \
         :: else -> skip \
         fi; \
         lost[i] = 0 }
#else
#define COME_BACK(i) \
    :: atomic { lost[i] -> \
         if :: in_reg[i] && !dead[i] -> dead[i] = 1; in_reg[i] = 0 :: else -> skip fi; \
         if \
         :: lease_owner == i -> lease_owner = 0; lease_live = 0; lease_epoch++; hung = 0 \
         :: else -> skip \
         fi; \
         lost[i] = 0 }
#endif

#define KILL(i) \
    :: atomic { crashes < MAXCRASH && in_reg[i] && !dead[i] -> \
         crashes++; dead[i] = 1; in_reg[i] = 0; \
         if :: lease_owner == i -> lease_live = 0; hung = 0 :: else -> skip fi }

#if defined(FOREIGN)
#define UNSEEN (!lease_live)
#else
#define UNSEEN (0)
#endif
#if defined(T3_NOKILL)
#define END_OWNER skip
#else                     /* kill, see it dead, then release                   */
#define END_OWNER o = lease_owner; \
         if :: lease_live -> dead[o] = 1; in_reg[o] = 0 :: else -> skip fi; \
         o = 0
#endif
#define TIER3 \
    :: atomic { lease_owner != 0 && (t3 < MAXT3 || hung || UNSEEN) -> \
         if \
         :: hung || !lease_live -> skip \
         :: else -> t3++ \
         fi; \
         END_OWNER; \
         lease_owner = 0; lease_live = 0; lease_epoch++; hung = 0 }

active proctype Faults()
{
    byte o = 0;
end_idle:
    do
    KILL(1)
#if NACT > 1
    KILL(2)
#endif
#if NACT > 2
    KILL(3)
#endif
#if !defined(NO_STOP)
    KILL(SID)
#endif
#if MAXLOST > 0 || defined(LOST_HELPS)
    DECLARE_LOST(1)
    COME_BACK(1)
#if NACT > 1
    DECLARE_LOST(2)
    COME_BACK(2)
#endif
#if NACT > 2
    DECLARE_LOST(3)
    COME_BACK(3)
#endif
#if !defined(NO_STOP)
    DECLARE_LOST(SID)
    COME_BACK(SID)
#endif
#endif
#if !defined(NO_TIER3)
    TIER3
#endif
    od
}

#if defined(REACH)          /* vacuity check: REACH must be reachable           */
active proctype Monitor()
{
end_idle:
    atomic { (REACH) -> INV(I13, 0) }
}
#endif

init
{
    atomic {
        rh[0] = 1;
        run Actor(1);
#if NACT > 1
        run Actor(2);
#endif
#if NACT > 2
        run Actor(3);
#endif
    }
}
