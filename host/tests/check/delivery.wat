;; A sink that confirms everything, for the tests of `weir check`.
(component
  (type $reject-def (record (field "index" u32) (field "reason" string) (field "retriable" bool)))
  (export $reject "reject" (type $reject-def))
  (type $batch-def (record (field "index" (list u32)) (field "meta" (list s64)) (field "data" (list u8))))
  (export $batch "batch" (type $batch-def))
  (type $context-def (record
    (field "pipeline" string) (field "step" string) (field "partition" u32) (field "inputs" (list string)) (field "tables" (list string))))
  (export $context "context" (type $context-def))
  (type $config-error-def (record (field "path" string) (field "message" string)))
  (export $config-error "config-error" (type $config-error-def))

  (core module $code
    (memory (export "memory") 32)
    (global $top (mut i32) (i32.const 65536))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
      (global.set $top (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    ;; Both answers are zeroes: no error, and an empty list of rejects.
    (func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "write") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 1024))
  )
  (core instance $guest (instantiate $code))
  (alias core export $guest "memory" (core memory $memory))
  (alias core export $guest "realloc" (core func $realloc))

  (func $init (param "config" string) (param "context" $context) (result (result (error $config-error)))
    (canon lift (core func $guest "init") (memory $memory) (realloc (func $realloc))))
  (func $write (param "source" string) (param "batch" $batch) (param "ordinals" (list u32)) (result (list $reject))
    (canon lift (core func $guest "write") (memory $memory) (realloc (func $realloc))))
  (instance $interface
    (export "reject" (type $reject)) (export "batch" (type $batch)) (export "context" (type $context))
    (export "config-error" (type $config-error)) (export "init" (func $init)) (export "write" (func $write)))
  (export "weir:plugin/delivery@0.1.0" (instance $interface))
)
