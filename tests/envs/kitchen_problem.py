"""A kitchen in PDDL, small and full of the engine's odd cases, for the tests of both engines."""

KITCHEN = """(define (problem kitchen) (:domain alfred) ; a comment
(:objects
  agent1 - agent
  Apple_bar_1 Apple_bar_2 Knife_bar_1 DeskLamp_bar_1 Bowl_bar_1 - object
  Fridge_bar_1 Microwave_bar_1 Sink_bar_1_bar_SinkBasin CounterTop_bar_1 - receptacle
  StoveBurner_bar_1 StoveBurner_bar_2 - receptacle
  loc_bar_0 loc_bar_1 loc_bar_2 loc_bar_3 loc_bar_4 loc_bar_5 - location
  AppleType KnifeType DeskLampType BowlType - otype
  FridgeType MicrowaveType SinkBasinType CounterTopType StoveBurnerType - rtype)
(:init
  (= (total-cost) 0) (atLocation agent1 loc_bar_0)
  (receptacleAtLocation Fridge_bar_1 loc_bar_1) (receptacleType Fridge_bar_1 FridgeType) (openable Fridge_bar_1)
  (receptacleAtLocation Microwave_bar_1 loc_bar_2) (receptacleType Microwave_bar_1 MicrowaveType)
  (openable Microwave_bar_1)
  (receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_3)
  (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType)
  (receptacleAtLocation CounterTop_bar_1 loc_bar_4) (receptacleType CounterTop_bar_1 CounterTopType)
  (receptacleAtLocation StoveBurner_bar_1 loc_bar_5) (receptacleType StoveBurner_bar_1 StoveBurnerType)
  (receptacleAtLocation StoveBurner_bar_2 loc_bar_5) (receptacleType StoveBurner_bar_2 StoveBurnerType)
  (objectType Apple_bar_1 AppleType) (objectType Apple_bar_2 AppleType) (objectType Knife_bar_1 KnifeType)
  (objectType DeskLamp_bar_1 DeskLampType) (objectType Bowl_bar_1 BowlType)
  (inReceptacle Apple_bar_1 Fridge_bar_1) (objectAtLocation Apple_bar_1 loc_bar_1)
  (inReceptacle Apple_bar_2 CounterTop_bar_1) (objectAtLocation Apple_bar_2 loc_bar_4)
  (inReceptacle Knife_bar_1 CounterTop_bar_1) (objectAtLocation Knife_bar_1 loc_bar_4)
  (inReceptacle DeskLamp_bar_1 CounterTop_bar_1) (objectAtLocation DeskLamp_bar_1 loc_bar_4)
  (inReceptacle Bowl_bar_1 StoveBurner_bar_1) (inReceptacle Bowl_bar_1 StoveBurner_bar_2)
  (objectAtLocation Bowl_bar_1 loc_bar_5) (isReceptacleObject Bowl_bar_1)
  (inReceptacleObject Apple_bar_2 Bowl_bar_1)
  (pickupable Apple_bar_1) (pickupable Apple_bar_2) (pickupable Knife_bar_1) (pickupable Bowl_bar_1)
  (cleanable Apple_bar_1) (heatable Apple_bar_1) (coolable Apple_bar_1) (sliceable Apple_bar_1)
  (cleanable Apple_bar_2) (heatable Apple_bar_2) (coolable Apple_bar_2) (sliceable Apple_bar_2)
  (toggleable DeskLamp_bar_1)
  (canContain FridgeType AppleType) (canContain CounterTopType AppleType) (canContain CounterTopType KnifeType)
  (canContain StoveBurnerType BowlType) (canContain StoveBurnerType AppleType) (canContain MicrowaveType AppleType))
(:goal GOAL))"""
HOT_APPLE_IN_FRIDGE = """(and (exists (?r - receptacle) (exists (?o - object) (and (heatable ?o)
  (objectType ?o AppleType) (receptacleType ?r FridgeType) (isHot ?o) (inReceptacle ?o ?r)))))"""
